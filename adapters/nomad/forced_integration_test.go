//go:build integration

package nomad_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/nomad"
	"github.com/valico-hpc/valico/broker"
)

// guarded is a program that works once in its folder, as valico-exec does, and
// counts what it refused.
func guarded(l broker.Launch, work string) []string {
	const script = `cd "$0" && if mkdir first; then echo start >>starts; eval "$1"; else echo refused >>refused; exit 70; fi`
	return []string{"/bin/sh", "-c", script, l.Dir, work}
}

// worked requires that the launch's work was done once, whatever Nomad started.
func worked(t *testing.T, l broker.Launch) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	require.NoError(t, err)
	require.Equal(t, "start\n", string(b))
}

func stoppedThere(t *testing.T, name string) {
	t.Helper()
	j, _, err := cluster.API.Jobs().Info(name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	require.True(t, *j.Stop, "nothing of it can start again")
}

func TestATaskThatAnOperatorRestartsInPlaceIsEndedAsTakenAway(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = guarded(l, "exec sleep 60")
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, running)
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(l.Dir, "starts")); return err == nil }, pollFor, pollEach)
	q := (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context())
	require.NoError(t, cluster.API.Allocations().Restart(&api.Allocation{ID: st.Handle, NodeID: node(t, st.Handle)}, "", q))
	got := await(t, s, l, ended)
	require.Equal(t, broker.OutcomePreempted, got.Outcome)
	require.Equal(t, st.Handle, got.Handle)
	worked(t, l)
	stoppedThere(t, l.Name)
}

// node is where an allocation lies.
func node(t *testing.T, id string) string {
	t.Helper()
	a, _, err := cluster.API.Allocations().Info(id, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	return a.NodeID
}

func allocations(t *testing.T, name string) int {
	t.Helper()
	all, _, err := cluster.API.Jobs().Allocations(name, true, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	return len(all)
}

func TestAFailedLaunchCannotBeForcedToStartAgain(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = guarded(l, "exit 7")
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, ended)
	require.Equal(t, broker.OutcomeExit, st.Outcome)
	require.Equal(t, 7, st.ExitCode)
	_, _, err := cluster.API.Jobs().EvaluateWithOpts(l.Name, api.EvalOptions{ForceReschedule: true},
		(&api.WriteOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		es, _, err := cluster.API.Jobs().Evaluations(l.Name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
		return err == nil && len(es) == 2 && es[0].Status == "complete" && es[1].Status == "complete"
	}, pollFor, pollEach, "Nomad looked again")
	require.Equal(t, 1, allocations(t, l.Name), "and the job allows no other start")
	require.Equal(t, st, await(t, s, l, ended))
	worked(t, l)
	require.NoFileExists(t, filepath.Join(l.Dir, "refused"))
}

func TestANodesAgentThatRestartsStartsNothingTwice(t *testing.T) { //nolint:paralleltest // it stops the agent that the others need
	s, l, failed := open(t, settings(t)), launch(t), launch(t)
	l.Argv, failed.Argv = guarded(l, "exec sleep 600"), guarded(failed, "exit 3")
	require.NoError(t, s.Submit(t.Context(), failed))
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, running)
	require.Equal(t, 3, await(t, s, failed, ended).ExitCode)
	require.NoError(t, cluster.Down())
	require.NoError(t, cluster.Up(t.Context()))
	await(t, s, l, running)
	require.Equal(t, 3, await(t, s, failed, ended).ExitCode)
	require.NoError(t, s.Cancel(t.Context(), l))
	require.Equal(t, broker.OutcomeCancelled, await(t, s, l, ended).Outcome)
	for _, x := range []broker.Launch{l, failed} {
		require.Equal(t, 1, allocations(t, x.Name))
		worked(t, x)
		require.NoFileExists(t, filepath.Join(x.Dir, "refused"))
	}
}

// tenants are two accounts with a namespace each, and a token for both.
func tenants(t *testing.T) nomad.Config {
	t.Helper()
	c := settings(t)
	secret, err := cluster.SiteToken(t.Context(), 23*time.Hour, cluster.Tenants...)
	require.NoError(t, err)
	c.TokenFile = filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(c.TokenFile, []byte(secret), 0o600))
	c.Namespace, c.Namespaces = "", map[string]string{person: cluster.Tenants[0], other: cluster.Tenants[1]}
	return c
}

func TestEachTenantHasANamespaceAndOneListWatchesBoth(t *testing.T) {
	t.Parallel()
	s, a, b := open(t, tenants(t)), launch(t), launch(t)
	b.Account = other
	require.NoError(t, os.Chown(b.Dir, cluster.Users[other], cluster.Users[other]))
	a.Argv, b.Argv = guarded(a, "exec sleep 60"), guarded(b, "id -un >who")
	require.NoError(t, s.Submit(t.Context(), a))
	require.NoError(t, s.Submit(t.Context(), b))
	require.Equal(t, broker.OutcomeOK, await(t, s, b, ended).Outcome)
	await(t, s, a, running)
	require.Eventually(t, func() bool {
		sts, err := s.Watch(t.Context(), []broker.Launch{a, b})
		return err == nil && len(sts) == 2 && sts[0].State == agent.SchedulerRunning && sts[1].State == agent.SchedulerEnded
	}, pollFor, pollEach)
	for ns, l := range map[string]broker.Launch{cluster.Tenants[0]: a, cluster.Tenants[1]: b} {
		_, _, err := cluster.API.Jobs().Info(l.Name, (&api.QueryOptions{Namespace: ns}).WithContext(t.Context()))
		require.NoError(t, err, "it lies in its tenant's namespace")
	}
	moved := a // its account was given the other namespace while it runs
	c := tenants(t)
	c.Namespaces[person] = cluster.Tenants[1]
	c.Namespaces[other] = cluster.Tenants[0]
	require.Equal(t, "launch_elsewhere", broker.CodeOf(open(t, c).Submit(t.Context(), moved)))
	require.Equal(t, broker.OutcomeCancelled, await(t, s, a, ended).Outcome)
	worked(t, a)
	u, err := s.Usage(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, "nomad", u.Method)
	who, err := os.ReadFile(filepath.Join(b.Dir, "who"))
	require.NoError(t, err)
	require.Equal(t, other, strings.TrimSpace(string(who)))
}

func TestASiteIsProbed(t *testing.T) { //nolint:paralleltest // it takes GPUs away
	gpus := []broker.GPUType{{Name: cluster.GPUType, PerNode: cluster.GPUs}}
	find := func(fs []nomad.Finding, name string) nomad.Finding {
		for _, f := range fs {
			if f.Name == name {
				return f
			}
		}
		t.Fatalf("%s is not among %+v", name, fs)
		return nomad.Finding{}
	}
	fs := nomad.Probe(t.Context(), tenants(t), gpus)
	for _, f := range fs {
		require.True(t, f.OK, "%+v", f)
		require.NotEmpty(t, f.Found)
		require.NotEmpty(t, f.Name)
	}
	require.Contains(t, find(fs, "nomad_version").Found, "server 1.6.1")
	require.Contains(t, find(fs, "nomad_token").Found, "expires")
	require.Contains(t, find(fs, "nomad_gpus "+cluster.GPUType).Found, "4 of 4 healthy")

	c := tenants(t)
	c.Namespaces[other] = "no-such"
	require.False(t, find(nomad.Probe(t.Context(), c, gpus), "nomad_namespace no-such").OK)
	c = tenants(t)
	c.NodePool = "no-such"
	require.False(t, find(nomad.Probe(t.Context(), c, gpus), "nomad_nodes").OK)
	c = tenants(t)
	c.Driver = "podman"
	require.False(t, find(nomad.Probe(t.Context(), c, gpus), "nomad_driver").OK)
	c = tenants(t)
	require.NoError(t, os.WriteFile(c.TokenFile, []byte(cluster.Secret), 0o600))
	require.Contains(t, find(nomad.Probe(t.Context(), c, gpus), "nomad_token").Found, "management")
	c = settings(t)
	fs = nomad.Probe(t.Context(), c, gpus)
	require.False(t, find(fs, "nomad_nodes").OK, "a token that may not read nodes")
	require.NoError(t, os.WriteFile(c.TokenFile, []byte("b8a1c3d2-0000-4000-8000-000000000000"), 0o600))
	require.False(t, find(nomad.Probe(t.Context(), c, gpus), "nomad_token").OK)
	c.Address = "http://127.0.0.1:1"
	fs = nomad.Probe(t.Context(), c, gpus)
	require.Len(t, fs, 1)
	require.Equal(t, "nomad_reach", fs[0].Name)

	require.NoError(t, cluster.Unhealthy(0, 1))
	require.Eventually(t, func() bool { return cluster.Healthy(t.Context()) == 2 }, pollFor, pollEach)
	f := find(nomad.Probe(t.Context(), tenants(t), gpus), "nomad_gpus "+cluster.GPUType)
	require.False(t, f.OK)
	require.Contains(t, f.Found, "2 of 4 healthy")
	require.NoError(t, cluster.Unhealthy())
	require.NoError(t, cluster.Ready(t.Context()))
}
