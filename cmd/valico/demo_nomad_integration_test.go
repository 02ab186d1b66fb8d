//go:build integration

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/demo"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

// The same on a real Nomad agent, with a namespace for each of two persons, and
// P12: nothing that reached Nomad names permit, dataset, purpose, project, tenant
// or person.
func TestTheDemoOnNomadTellsNomadNothing(t *testing.T) {
	t.Parallel()
	require.NoError(t, demo.NomadAccounts(t.Context()))
	l, err := nomadlab.Start(t.Context(), os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Stop()) })
	holds(t, tell(t, "--site", "nomad", "--lab", l.Dir), "nomad")

	q := func(ns string) *api.QueryOptions { return (&api.QueryOptions{Namespace: ns}).WithContext(t.Context()) }
	jobs, _, err := l.API.Jobs().List(q("*"))
	require.NoError(t, err)
	require.Len(t, jobs, 2)
	evals, _, err := l.API.Evaluations().List(q("*"))
	require.NoError(t, err)
	allocs, _, err := l.API.Allocations().List(q("*"))
	require.NoError(t, err)
	require.Len(t, allocs, 2, "each job started once")
	all, users := []any{jobs, evals, allocs}, map[string]string{}
	for _, a := range allocs {
		full, _, err := l.API.Allocations().Info(a.ID, q(a.Namespace))
		require.NoError(t, err)
		all = append(all, full)
		users[full.Job.TaskGroups[0].Tasks[0].User] = a.Namespace
	}
	require.Equal(t, map[string]string{"labuser1": l.Tenants[0], "labuser2": l.Tenants[1]}, users, "two persons, two owners, two namespaces")
	b, err := json.Marshal(all)
	require.NoError(t, err)
	log, err := os.ReadFile(filepath.Join(l.Dir, "agent.log"))
	require.NoError(t, err)
	said := strings.ToLower(string(b) + string(log))
	const id = `_[0-9a-z]{26}` // of a tenant, a project, a job
	for _, word := range []string{
		"sandbox", `data\.example`, "synthetic", "screening", `53\(1\)`, "biotech", "ada@", "ben@", "cohort", "trainer",
		"ten" + id, "prj" + id, "job" + id, "dec" + id, "ord" + id,
	} {
		if at := regexp.MustCompile(word).FindStringIndex(said); at != nil {
			t.Errorf("P12: %q reached Nomad: …%s…", word, said[max(0, at[0]-200):min(len(said), at[1]+100)])
		}
	}
}
