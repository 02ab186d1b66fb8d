//go:build integration

package nomad_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// said reads everything that Nomad stores of a launch.
func said(t *testing.T, name string) string {
	t.Helper()
	q := func() *api.QueryOptions {
		return (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context())
	}
	j, _, err := cluster.API.Jobs().Info(name, q())
	require.NoError(t, err)
	evals, _, err := cluster.API.Jobs().Evaluations(name, q())
	require.NoError(t, err)
	stubs, _, err := cluster.API.Jobs().Allocations(name, true, q())
	require.NoError(t, err)
	all := []any{j, evals, stubs}
	for _, a := range stubs {
		full, _, err := cluster.API.Allocations().Info(a.ID, q())
		require.NoError(t, err)
		all = append(all, full)
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	return string(b)
}

func TestNothingThatReachesNomadNamesPermitDatasetProjectOrPerson(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	out := filepath.Join(l.Dir, "env")
	l.Argv = []string{"/bin/sh", "-c", "env >" + out + "; id -un >>" + out + "; sleep 0.5"}
	l.Env = []broker.EnvVar{{Name: "VALICO_SPOOL", Value: l.Dir + "/spool"}}
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, ended)
	env, err := os.ReadFile(out)
	require.NoError(t, err)
	stored := said(t, l.Name)
	reached := stored + string(env)
	require.Contains(t, reached, l.Name)
	require.Contains(t, reached, string(l.OrderDigest))
	for _, word := range []string{"permit", "dataset", "project", "tenant", "purpose", "allocation_id", "cohort", "53(1)", "puri", "valico-agent"} {
		require.NotRegexp(t, regexp.MustCompile(`(?i)`+regexp.QuoteMeta(word)), reached, word)
	}
	for e := range strings.SplitSeq(strings.TrimSpace(string(env)), "\n") {
		name, _, _ := strings.Cut(e, "=")
		require.Regexp(t, `^(PATH|PWD|OLDPWD|SHLVL|_|VALICO_SPOOL|NOMAD_.*|NVIDIA_VISIBLE_DEVICES|GOMEMLIMIT|`+person+`)$`, name)
	}
	require.Contains(t, string(env), "NVIDIA_VISIBLE_DEVICES=emulated-")
	require.True(t, strings.HasSuffix(strings.TrimSpace(string(env)), person), "it ran as its account")
}

func TestALaunchWithoutFreeGPUsSaysSoAndStartsWhenTheyAreFree(t *testing.T) { //nolint:paralleltest // it takes every GPU
	s := open(t, settings(t))
	first, second := launch(t), launch(t)
	first.Argv, first.Resources.GPUsPerNode = []string{"/bin/sleep", "60"}, cluster.GPUs
	require.NoError(t, s.Submit(t.Context(), first))
	st := await(t, s, first, running)
	require.Equal(t, cluster.GPUs, st.Granted)
	require.NoError(t, s.Submit(t.Context(), second))
	require.Eventually(t, func() bool { return strings.HasPrefix(watch(t, s, second).Waiting.Words, "blocked") }, pollFor, pollEach)
	st = watch(t, s, second)
	require.Equal(t, "blocked: devices: no devices match request on 1 node exhausted", st.Waiting.Words)
	require.Equal(t, agent.SchedulerQueued, st.State)
	require.Equal(t, -1, st.Granted)
	require.NoError(t, s.Cancel(t.Context(), first))
	require.Equal(t, broker.OutcomeOK, await(t, s, second, ended).Outcome)
	require.Equal(t, broker.OutcomeCancelled, await(t, s, first, ended).Outcome)
}

func TestALaunchThatWaitsForUnhealthyGPUsStartsWhenTheyHeal(t *testing.T) { //nolint:paralleltest // it takes every GPU
	s, l := open(t, settings(t)), launch(t)
	require.NoError(t, cluster.Unhealthy(0, 1, 2, 3))
	require.Eventually(t, func() bool { return cluster.Healthy(t.Context()) == 0 }, pollFor, pollEach)
	require.NoError(t, s.Submit(t.Context(), l))
	require.Eventually(t, func() bool { return strings.HasPrefix(watch(t, s, l).Waiting.Words, "blocked") }, pollFor, pollEach)
	require.Equal(t, "blocked: missing devices on 1 node filtered", watch(t, s, l).Waiting.Words)
	require.NoError(t, cluster.Unhealthy())
	require.NoError(t, cluster.Ready(t.Context()))
	require.Eventually(t, func() bool { return ended(watch(t, s, l)) }, pollFor, pollEach, "Nomad does not look again by itself")
	require.Equal(t, broker.OutcomeOK, watch(t, s, l).Outcome)
}

func TestAJobWhoseGPUsWereNotGrantedIsEndedAndRefused(t *testing.T) {
	t.Parallel()
	// The job is there already under our name and digest, without its GPUs: as
	// after a registration whose device block was dropped and whose answer was lost.
	s, l := open(t, settings(t)), launch(t)
	bare := l
	bare.Hold, bare.Resources.GPUsPerNode = true, 0
	require.NoError(t, open(t, settings(t)).Submit(t.Context(), bare))
	err := s.Submit(t.Context(), l)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%v", err)
	require.Equal(t, "gpus_not_granted", broker.CodeOf(err))
	require.Equal(t, broker.OutcomeCancelled, await(t, s, l, ended).Outcome)
	require.Equal(t, "gpus_not_granted", broker.CodeOf(s.Submit(t.Context(), l)), "asked again, it is not started")
}

func TestAPlacedJobWithFewerGPUsIsEnded(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = []string{"/bin/sleep", "60"}
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, running)
	l.Resources.GPUsPerNode = 2 // what was asked for, had it been granted half
	st := await(t, s, l, ended)
	require.Equal(t, broker.OutcomeLaunchFailed, st.Outcome)
	require.Equal(t, "gpus_not_granted: 1 of 2", st.Waiting.Words)
}

func TestALaunchWhoseProgramIsMissingFailedToLaunch(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = []string{"/no/such/program"}
	require.NoError(t, s.Submit(t.Context(), l))
	require.Equal(t, broker.OutcomeLaunchFailed, await(t, s, l, ended).Outcome)
	u, err := s.Usage(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, broker.Usage{Method: "nomad"}, u)
}

func TestALaunchThatASignalEndedSaysWhich(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = []string{"/bin/sh", "-c", "kill -SEGV $$"}
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, ended)
	require.Equal(t, broker.OutcomeExit, st.Outcome)
	require.Equal(t, 139, st.ExitCode)
}

func TestWatchListsOnceForAllAndNotAtAllWhileNothingHappens(t *testing.T) { //nolint:paralleltest // it needs a quiet agent
	s := open(t, settings(t))
	var ls []broker.Launch
	for range 12 {
		l := launch(t)
		l.Hold = true
		require.NoError(t, s.Submit(t.Context(), l))
		ls = append(ls, l)
	}
	count := func() int64 {
		before := s.Requests()
		sts, err := s.Watch(t.Context(), ls)
		require.NoError(t, err)
		require.Len(t, sts, len(ls))
		return s.Requests() - before
	}
	const followers = 3 // an event stream and two blocking queries, which may be asked anew meanwhile
	require.LessOrEqual(t, count(), int64(3+followers), "three lists")
	require.Eventually(t, func() bool { return count() == 0 }, pollFor, pollEach, "nothing changed")
	require.NoError(t, s.Cancel(t.Context(), ls[3]))
	n := count()
	require.GreaterOrEqual(t, n, int64(3), "something changed")
	require.LessOrEqual(t, n, int64(3+followers))
	for _, l := range ls {
		require.NoError(t, s.Cancel(t.Context(), l))
	}
}

func TestALaunchThatNomadForgotIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = []string{"/bin/sh", "-c", "echo start >>" + filepath.Join(l.Dir, "starts")}
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, ended)
	_, _, err := cluster.API.Jobs().Deregister(l.Name, true, (&api.WriteOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	require.Equal(t, "launch_forgotten", broker.CodeOf(s.Submit(t.Context(), l)))
	st, err := s.Find(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, agent.SchedulerGone, st.State)
	_, err = s.Usage(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	require.Equal(t, "launch_forgotten", broker.CodeOf(s.Submit(t.Context(), l)))
	_, err = open(t, settings(t)).Find(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "another process cannot know that it was there")
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	require.NoError(t, err)
	require.Equal(t, "start\n", string(b))
}

func TestATokenOfAnotherNamespaceIsRefused(t *testing.T) {
	t.Parallel()
	c := settings(t)
	c.TokenFile = tokenFile(t, "stranger", 0)
	require.Equal(t, "scheduler_token_refused", broker.CodeOf(open(t, c).Submit(t.Context(), launch(t))))
}
