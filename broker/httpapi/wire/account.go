package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Person is a natural person known to the broker.
type Person struct {
	ID        string     `json:"id" minLength:"1" maxLength:"200" pattern:"^[!-~]+$" doc:"As permits write it." example:"ada@biotech.example"`
	Name      string     `json:"name" minLength:"1" maxLength:"200" example:"Ada Example"`
	Roles     []string   `json:"roles" minItems:"1" maxItems:"3" enum:"developer,reviewer,operator" nullable:"false" example:"[\"developer\"]"`
	Project   string     `json:"project,omitempty" doc:"Left out, the operator's own."`
	CreatedAt *time.Time `json:"created_at,omitempty" readOnly:"true"`
}

// Persons are the persons of a tenant.
type Persons struct {
	Persons []Person `json:"persons" nullable:"false"`
}

// NewPerson gives a person as it travels.
func NewPerson(p broker.Person) Person {
	return Person{ID: string(p.ID), Name: p.Name, Roles: p.Roles, Project: string(p.Project), CreatedAt: moment(p.CreatedAt)}
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Person string `json:"person" minLength:"1" maxLength:"200" example:"ada@biotech.example"`
	Days   int    `json:"days,omitempty" minimum:"1" maximum:"366" default:"90" doc:"How long it is valid."`
}

// Token is a person's token. The secret is shown once, when it is made.
type Token struct {
	ID        string     `json:"id"`
	Person    string     `json:"person"`
	Secret    string     `json:"secret,omitempty" doc:"Shown once."`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// Tokens are a person's tokens, without their secrets.
type Tokens struct {
	Tokens []Token `json:"tokens" nullable:"false"`
}

// NewToken gives a token without its secret.
func NewToken(t broker.Token) Token {
	return Token{
		ID: string(t.ID), Person: string(t.Person), CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, RevokedAt: moment(t.RevokedAt),
	}
}
