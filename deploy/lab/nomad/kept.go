package nomadlab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/nomad/api"
)

// Kept returns every allocation of the agent, and all that it stores and has
// logged as one text, in every namespace: what a stranger who may read
// everything could learn.
func (l *Lab) Kept(ctx context.Context) (allocs []*api.Allocation, said string, err error) {
	q := func(namespace string) *api.QueryOptions {
		return (&api.QueryOptions{Namespace: namespace}).WithContext(ctx)
	}
	jobs, _, err := l.API.Jobs().List(q(api.AllNamespacesNamespace))
	if err != nil {
		return nil, "", fmt.Errorf("list jobs: %w", err)
	}
	evals, _, err := l.API.Evaluations().List(q(api.AllNamespacesNamespace))
	if err != nil {
		return nil, "", fmt.Errorf("list evaluations: %w", err)
	}
	rows, _, err := l.API.Allocations().List(q(api.AllNamespacesNamespace))
	if err != nil {
		return nil, "", fmt.Errorf("list allocations: %w", err)
	}
	for _, row := range rows {
		a, _, err := l.API.Allocations().Info(row.ID, q(row.Namespace))
		if err != nil {
			return nil, "", fmt.Errorf("read allocation %s: %w", row.ID, err)
		}
		allocs = append(allocs, a)
	}
	b, err := json.Marshal([]any{jobs, evals, allocs})
	if err != nil {
		return nil, "", fmt.Errorf("write down what is stored: %w", err)
	}
	log, err := os.ReadFile(filepath.Join(l.Dir, "agent.log"))
	if err != nil {
		return nil, "", fmt.Errorf("read the log: %w", err)
	}
	return allocs, string(b) + string(log), nil
}
