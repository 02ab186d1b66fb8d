package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/valico-hpc/valico/broker"
)

// EnsureProject returns the project of that name with its tenant, and makes
// both when there is none.
func (s *Store) EnsureProject(ctx context.Context, name string) (tenant broker.TenantID, project broker.ProjectID, err error) {
	if name == "" {
		return "", "", invalid("project_name", "a project has a name", "")
	}
	now := s.now()
	err = s.write(ctx, "ensure project", func(ctx context.Context, t *tx) error {
		err := t.get(ctx, `SELECT tenant_id, id FROM project WHERE name = ?`, []any{name}, &tenant, &project)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		tenant, project = broker.NewID[broker.TenantID]("ten"), broker.NewID[broker.ProjectID]("prj")
		if _, err := t.exec(ctx, `INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)`, tenant, name, micros(now)); err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO project (id, tenant_id, name, created_at) VALUES (?, ?, ?, ?)`, project, tenant, name, micros(now))
		return err
	})
	if err != nil {
		return "", "", err
	}
	return tenant, project, nil
}

// AddPerson stores a person; KindConflict when the project has them already.
func (s *Store) AddPerson(ctx context.Context, p broker.Person) error {
	if p.ID == "" {
		return invalid("person_id", "a person has the identifier that permits write", "")
	}
	roles, err := json.Marshal(append([]string{}, p.Roles...))
	if err != nil {
		return fmt.Errorf("encode roles: %w", err)
	}
	if p.CreatedAt.IsZero() {
		p.CreatedAt = s.now()
	}
	return s.write(ctx, "add person", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO person (id, tenant_id, project_id, name, roles, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
			p.ID, p.Tenant, p.Project, p.Name, string(roles), micros(p.CreatedAt))
		return err
	})
}

const personColumns = `p.id, p.tenant_id, p.project_id, p.name, p.roles, p.created_at`

// personScan gives the places that personColumns are scanned into, and a
// function that finishes the person.
func personScan(p *broker.Person) ([]any, func() error) {
	var roles string
	var at sql.NullInt64
	return []any{&p.ID, &p.Tenant, &p.Project, &p.Name, &roles, &at}, func() error {
		p.CreatedAt = moment(at)
		return json.Unmarshal([]byte(roles), &p.Roles)
	}
}

// People lists a tenant's persons by identifier.
func (s *Store) People(ctx context.Context, tenant broker.TenantID) ([]broker.Person, error) {
	out, err := list(ctx, s.read, `SELECT `+personColumns+` FROM person p WHERE p.tenant_id = ? ORDER BY p.id, p.project_id`,
		[]any{tenant}, func(scan scanner) (broker.Person, error) {
			var p broker.Person
			dest, finish := personScan(&p)
			if err := scan(dest...); err != nil {
				return p, err
			}
			err := finish()
			return p, err
		})
	return out, translate("list people", err)
}

// AddToken stores a token of a person.
func (s *Store) AddToken(ctx context.Context, k broker.Token) error {
	if k.ExpiresAt.IsZero() {
		return invalid("token_expiry", "a token expires", "")
	}
	if k.CreatedAt.IsZero() {
		k.CreatedAt = s.now()
	}
	return s.write(ctx, "add token", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO token (id, tenant_id, project_id, person_id, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			k.ID, k.Tenant, k.Project, k.Person, k.Hash[:], micros(k.CreatedAt), micros(k.ExpiresAt))
		return err
	})
}

const tokenColumns = `k.id, k.tenant_id, k.project_id, k.person_id, k.hash, k.created_at, k.expires_at, k.revoked_at` //nolint:gosec // names of columns

func tokenScan(k *broker.Token) ([]any, func() error) {
	var hash []byte
	var created, expires, revoked sql.NullInt64
	return []any{&k.ID, &k.Tenant, &k.Project, &k.Person, &hash, &created, &expires, &revoked}, func() error {
		k.CreatedAt, k.ExpiresAt, k.RevokedAt = moment(created), moment(expires), moment(revoked)
		if copy(k.Hash[:], hash) != len(k.Hash) {
			return fmt.Errorf("token %s has a short hash", k.ID)
		}
		return nil
	}
}

// PersonByToken finds who holds the token with this hash. Unknown, expired and
// revoked tokens give the same answer.
func (s *Store) PersonByToken(ctx context.Context, hash [32]byte) (broker.Person, broker.Token, error) {
	var p broker.Person
	var k broker.Token
	pd, pf := personScan(&p)
	kd, kf := tokenScan(&k)
	err := s.read.get(ctx, `SELECT `+personColumns+`, `+tokenColumns+`
		FROM token k JOIN person p ON p.project_id = k.project_id AND p.id = k.person_id WHERE k.hash = ?`,
		[]any{hash[:]}, append(pd, kd...)...)
	if err == nil {
		err = errors.Join(pf(), kf())
	}
	now := s.now()
	if errors.Is(err, sql.ErrNoRows) || (err == nil && (!k.RevokedAt.IsZero() || !now.Before(k.ExpiresAt))) {
		return broker.Person{}, broker.Token{}, &broker.Error{
			Kind: broker.KindUnauthenticated, Code: "token_invalid", Message: "you are not signed in",
			Rule: "a request carries a token that is known, not expired and not revoked",
			Help: "ask for a new token", Who: "the broker's operator",
		}
	}
	if err != nil {
		return broker.Person{}, broker.Token{}, translate("look a token up", err)
	}
	return p, k, nil
}

// RevokeToken ends a tenant's token now. Revoking one twice is no error.
func (s *Store) RevokeToken(ctx context.Context, tenant broker.TenantID, id broker.TokenID) error {
	now := s.now()
	return s.write(ctx, "revoke token", func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE token SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? AND tenant_id = ?`, micros(now), id, tenant)
		if err == nil && n == 0 {
			return broker.NotFound("token", string(id))
		}
		return err
	})
}

// Tokens lists a person's tokens, oldest first.
func (s *Store) Tokens(ctx context.Context, tenant broker.TenantID, person broker.PersonID) ([]broker.Token, error) {
	out, err := list(ctx, s.read, `SELECT `+tokenColumns+` FROM token k WHERE k.tenant_id = ? AND k.person_id = ? ORDER BY k.created_at, k.id`,
		[]any{tenant, person}, func(scan scanner) (broker.Token, error) {
			var k broker.Token
			dest, finish := tokenScan(&k)
			if err := scan(dest...); err != nil {
				return k, err
			}
			err := finish()
			return k, err
		})
	return out, translate("list tokens", err)
}
