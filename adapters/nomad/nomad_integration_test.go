//go:build integration

package nomad_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

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

func TestAStrangersJobOfOurNameInOurNamespaceIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	theirs := l
	theirs.OrderDigest, theirs.Argv = broker.DigestOf([]byte("a stranger's order")), []string{"/bin/sleep", "1"}
	require.NoError(t, open(t, settings(t)).Submit(t.Context(), theirs))
	require.Equal(t, "launch_name_taken", broker.CodeOf(s.Submit(t.Context(), l)))
	require.NoError(t, s.Cancel(t.Context(), l))
	require.Equal(t, broker.OutcomeOK, await(t, s, theirs, ended).Outcome)

	// the same order under another account is a stranger's as well
	m := launch(t)
	squat := m
	squat.Account, squat.Hold = other, true
	require.NoError(t, open(t, settings(t)).Submit(t.Context(), squat))
	require.Equal(t, "launch_name_taken", broker.CodeOf(s.Submit(t.Context(), m)))
	require.Equal(t, agent.Status{}, watchFound(t, s, m))
	require.NoError(t, s.Cancel(t.Context(), squat))
}

// watchFound is a launch's status by Find, the zero Status when it is not known.
func watchFound(t *testing.T, s agent.Scheduler, l broker.Launch) agent.Status {
	t.Helper()
	st, err := s.Find(t.Context(), l)
	if broker.KindOf(err) == broker.KindNotFound {
		return agent.Status{}
	}
	require.NoError(t, err)
	return st
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

func TestALaunchThatNomadReplacesIsEndedWithItsFirstStart(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings(t)), launch(t)
	l.Argv = []string{"/bin/sleep", "60"}
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, running)
	// As a drain does: Nomad kills the allocation and places another one, though
	// the job allows no rescheduling.
	q := (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context())
	_, err := cluster.API.Allocations().Stop(&api.Allocation{ID: st.Handle}, q)
	require.NoError(t, err)
	got := await(t, s, l, ended)
	require.Equal(t, broker.OutcomePreempted, got.Outcome)
	require.Equal(t, st.Handle, got.Handle)
	j, _, err := cluster.API.Jobs().Info(l.Name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	require.True(t, *j.Stop, "no replacement may run")
}

func TestAPreemptedLaunchSaysSoAndDoesNotComeBack(t *testing.T) { //nolint:paralleltest // it takes every GPU
	w := func() *api.WriteOptions { return (&api.WriteOptions{}).WithContext(t.Context()) }
	set := func(on bool) {
		_, _, err := cluster.API.Operator().SchedulerSetConfiguration(&api.SchedulerConfiguration{
			SchedulerAlgorithm: api.SchedulerAlgorithmBinpack, PreemptionConfig: api.PreemptionConfig{BatchSchedulerEnabled: on, SystemSchedulerEnabled: true},
		}, w())
		require.NoError(t, err)
	}
	set(true)
	defer set(false)
	low, high := settings(t), settings(t)
	low.Priority, high.Priority = 20, 80
	s, h := open(t, low), open(t, high)
	l, m := launch(t), launch(t)
	l.Argv, l.Resources.GPUsPerNode = []string{"/bin/sleep", "60"}, cluster.GPUs
	m.Argv, m.Resources.GPUsPerNode = []string{"/bin/sleep", "2"}, cluster.GPUs
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, running)
	require.NoError(t, h.Submit(t.Context(), m))
	require.Equal(t, broker.OutcomePreempted, await(t, s, l, ended).Outcome)
	require.Equal(t, broker.OutcomeOK, await(t, h, m, ended).Outcome)
	require.Equal(t, broker.OutcomePreempted, watch(t, s, l).Outcome)
	j, _, err := cluster.API.Jobs().Info(l.Name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	require.True(t, *j.Stop)
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
	require.LessOrEqual(t, count(), int64(4), "three lists, and an event stream that opens meanwhile")
	require.Eventually(t, func() bool { return count() == 0 }, pollFor, pollEach, "the event stream is silent")
	require.NoError(t, s.Cancel(t.Context(), ls[3]))
	require.Equal(t, int64(3), count(), "it says that something changed")
	for _, l := range ls {
		require.NoError(t, s.Cancel(t.Context(), l))
	}
}

func TestWithoutAnEventStreamEveryWatchLists(t *testing.T) {
	t.Parallel()
	c := settings(t)
	c.CallTimeout = 5 * time.Second
	c.Relist = time.Nanosecond
	s, l := open(t, c), launch(t)
	l.Hold = true
	require.NoError(t, s.Submit(t.Context(), l))
	for range 3 {
		before := s.Requests()
		watch(t, s, l)
		require.GreaterOrEqual(t, s.Requests()-before, int64(3))
	}
	require.NoError(t, s.Cancel(t.Context(), l))
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

func TestATokenThatExpiredIsToldFromAnOutageAndRenewedInItsFile(t *testing.T) {
	t.Parallel()
	c := settings(t)
	c.TokenFile = tokenFile(t, cluster.Namespace, 2*time.Second)
	s, l := open(t, c), launch(t)
	l.Hold = true
	require.NoError(t, s.Submit(t.Context(), l))
	var err error
	require.Eventually(t, func() bool {
		_, err = s.Find(t.Context(), l)
		return err != nil
	}, pollFor, pollEach)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	require.Equal(t, "scheduler_token_refused", broker.CodeOf(err))
	require.Equal(t, "scheduler_token_refused", broker.CodeOf(s.Submit(t.Context(), launch(t))))
	secret, err := cluster.Token(context.Background(), cluster.Namespace, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(c.TokenFile, []byte(secret), 0o600))
	require.Equal(t, agent.SchedulerQueued, watch(t, s, l).State)
	require.NoError(t, s.Cancel(t.Context(), l))
}

func TestATokenOfAnotherNamespaceIsRefused(t *testing.T) {
	t.Parallel()
	c := settings(t)
	c.TokenFile = tokenFile(t, "stranger", 0)
	require.Equal(t, "scheduler_token_refused", broker.CodeOf(open(t, c).Submit(t.Context(), launch(t))))
}
