package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) persons() {
	created := exampleTime()
	person := wire.Person{ID: "ada@biotech.example", Name: "Ada Example", Roles: []string{broker.RoleDeveloper}, CreatedAt: &created}
	token := wire.Token{
		ID: "tok_0123456789abcdefghjkmnpqrs", Person: person.ID, Secret: "vlc_…", CreatedAt: created, ExpiresAt: created.AddDate(0, 0, 90),
	}
	handle(s, op{
		method: http.MethodGet, path: "/v1/persons", id: "list-persons", summary: "List the tenant's persons", rule: operator,
		example: wire.Persons{Persons: []wire.Person{person}},
	}, s.listPersons)
	handle(s, op{
		method: http.MethodPost, path: "/v1/persons", id: "add-person", summary: "Make a natural person known",
		rule: operator, status: http.StatusCreated, example: person,
	}, s.addPerson)
	handle(s, op{
		method: http.MethodGet, path: "/v1/whoami", id: "whoami", summary: "Say who is asking", rule: signedIn, example: person,
	}, s.whoami)
	handle(s, op{
		method: http.MethodPost, path: "/v1/tokens", id: "new-token", summary: "Give a person a token; the secret is shown once",
		rule: operator, status: http.StatusCreated, example: token,
	}, s.newToken)
	handle(s, op{
		method: http.MethodGet, path: "/v1/persons/{id}/tokens", id: "list-tokens", summary: "List a person's tokens, without secrets",
		rule: operator, example: wire.Tokens{Tokens: []wire.Token{{ID: token.ID, Person: person.ID, CreatedAt: created, ExpiresAt: token.ExpiresAt}}},
	}, s.listTokens)
	handle(s, op{
		method: http.MethodDelete, path: "/v1/tokens/{id}", id: "revoke-token", summary: "End a token", rule: operator, status: http.StatusNoContent,
	}, s.revokeToken)
}

func (s *Server) listPersons(ctx context.Context, _ *struct{}) (*body[wire.Persons], error) {
	ps, err := s.d.Store.People(ctx, caller(ctx).Tenant)
	if err != nil {
		return nil, fmt.Errorf("list persons: %w", err)
	}
	out := wire.Persons{Persons: []wire.Person{}}
	for _, p := range ps {
		out.Persons = append(out.Persons, wire.NewPerson(p))
	}
	return &body[wire.Persons]{out}, nil
}

func (s *Server) whoami(ctx context.Context, _ *struct{}) (*body[wire.Person], error) {
	return &body[wire.Person]{wire.NewPerson(caller(ctx))}, nil
}

type addPersonInput struct {
	CreateKey
	Body wire.Person
}

// addPerson makes a person of the operator's tenant. Another project than the
// operator's own must be one that the tenant has persons in.
func (s *Server) addPerson(ctx context.Context, in *addPersonInput) (*body[wire.Person], error) {
	by := caller(ctx)
	p := broker.Person{
		ID: broker.PersonID(in.Body.ID), Tenant: by.Tenant, Project: by.Project, Name: in.Body.Name, Roles: in.Body.Roles,
		CreatedAt: s.now(),
	}
	if in.Body.Project != "" && in.Body.Project != string(by.Project) {
		project, err := s.projectOf(ctx, by.Tenant, in.Body.Project)
		if err != nil {
			return nil, err
		}
		p.Project = project
	}
	if err := s.d.Store.AddPerson(ctx, p); err != nil {
		return nil, fmt.Errorf("add person: %w", err)
	}
	return &body[wire.Person]{wire.NewPerson(p)}, nil
}

func (s *Server) projectOf(ctx context.Context, tenant broker.TenantID, id string) (broker.ProjectID, error) {
	people, err := s.d.Store.People(ctx, tenant)
	if err != nil {
		return "", fmt.Errorf("list persons: %w", err)
	}
	for _, p := range people {
		if string(p.Project) == id {
			return p.Project, nil
		}
	}
	return "", broker.NotFound("project", id)
}

type newTokenInput struct {
	CreateKey
	Body wire.TokenRequest
}

func (s *Server) newToken(ctx context.Context, in *newTokenInput) (*body[wire.Token], error) {
	person, err := s.person(ctx, in.Body.Person)
	if err != nil {
		return nil, err
	}
	secret, hash := NewSecret()
	now := s.now()
	t := broker.Token{
		ID: broker.NewID[broker.TokenID]("tok"), Tenant: person.Tenant, Project: person.Project, Person: person.ID,
		Hash: hash, CreatedAt: now, ExpiresAt: now.AddDate(0, 0, in.Body.Days),
	}
	if err := s.d.Store.AddToken(ctx, t); err != nil {
		return nil, fmt.Errorf("add token: %w", err)
	}
	w := wire.NewToken(t)
	w.Secret = string(secret)
	return &body[wire.Token]{w}, nil
}

// person finds a person of the caller's tenant.
func (s *Server) person(ctx context.Context, id string) (broker.Person, error) {
	people, err := s.d.Store.People(ctx, caller(ctx).Tenant)
	if err != nil {
		return broker.Person{}, fmt.Errorf("list persons: %w", err)
	}
	for _, p := range people {
		if string(p.ID) == id {
			return p, nil
		}
	}
	return broker.Person{}, broker.NotFound("person", id)
}

type personPath struct {
	ID string `path:"id" maxLength:"200" example:"ada@biotech.example" doc:"The person's id."`
}

func (s *Server) listTokens(ctx context.Context, in *personPath) (*body[wire.Tokens], error) {
	p, err := s.person(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ts, err := s.d.Store.Tokens(ctx, p.Tenant, p.ID)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	out := wire.Tokens{Tokens: []wire.Token{}}
	for _, t := range ts {
		out.Tokens = append(out.Tokens, wire.NewToken(t))
	}
	return &body[wire.Tokens]{out}, nil
}

// TokenPath names a token.
type TokenPath struct {
	ID string `path:"id" maxLength:"64" example:"tok_0123456789abcdefghjkmnpqrs" doc:"The token's id, not its secret."`
}

func (s *Server) revokeToken(ctx context.Context, in *TokenPath) (*struct{}, error) {
	if !broker.ValidID("tok", in.ID) {
		return nil, &broker.Error{
			Kind: broker.KindNotFound, Code: "not_found", Message: "no such token", Rule: "a token is named by its id, tok_…",
			Help: "list them with: valico token list PERSON", Who: "the broker's operator",
		} // without the value: it may be a secret given by mistake
	}
	if err := s.d.Store.RevokeToken(ctx, caller(ctx).Tenant, broker.TokenID(in.ID)); err != nil {
		return nil, fmt.Errorf("revoke token: %w", err)
	}
	return nil, nil //nolint:nilnil // 204 has no body
}

// now is the moment of a write: UTC, in microseconds as stored.
func (s *Server) now() time.Time { return s.d.Now().UTC().Truncate(time.Microsecond) }
