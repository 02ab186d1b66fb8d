package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi"
)

// The first operator, who makes all other persons and tokens.
const (
	defaultProject                 = "default"
	operatorID     broker.PersonID = "operator@localhost"
	operatorDays                   = 365
)

// openOperator makes the first project, its operator and the operator's token
// when the record is new. The token is written to a file of mode 0600 and is
// stored and logged nowhere else.
func (a *App) openOperator(ctx context.Context) error {
	tenant, project, err := a.store.EnsureProject(ctx, defaultProject)
	if err != nil {
		return fmt.Errorf("make the first project: %w", err)
	}
	if _, err := os.Stat(a.OperatorTokenFile()); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the operator's token: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	err = a.store.AddPerson(ctx, broker.Person{
		ID: operatorID, Tenant: tenant, Project: project, Name: "Operator", Roles: []string{broker.RoleOperator}, CreatedAt: now,
	})
	if err != nil && broker.KindOf(err) != broker.KindConflict { // a crash may have left the person without the file
		return fmt.Errorf("make the first operator: %w", err)
	}
	secret, hash := httpapi.NewSecret()
	if err := a.store.AddToken(ctx, broker.Token{
		ID: broker.NewID[broker.TokenID]("tok"), Tenant: tenant, Project: project, Person: operatorID, Hash: hash,
		CreatedAt: now, ExpiresAt: now.AddDate(0, 0, operatorDays),
	}); err != nil {
		return fmt.Errorf("make the operator's token: %w", err)
	}
	return writeNew(a.OperatorTokenFile(), []byte(string(secret)+"\n"), 0o600)
}
