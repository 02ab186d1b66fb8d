//go:build integration

package main_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/brokertest"
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

	allocs, said, err := l.Kept(t.Context())
	require.NoError(t, err)
	users := map[string]string{}
	for _, a := range allocs {
		users[a.Job.TaskGroups[0].Tasks[0].User] = a.Namespace
	}
	require.Len(t, allocs, 2, "two jobs, each started once")
	require.NotEqual(t, allocs[0].JobID, allocs[1].JobID)
	require.Equal(t, map[string]string{"labuser1": l.Tenants[0], "labuser2": l.Tenants[1]}, users, "two persons, two owners, two namespaces")
	brokertest.NamesNothing(t, said)
}
