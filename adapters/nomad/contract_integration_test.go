//go:build integration

package nomad_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

func TestContractOnARealAgent(t *testing.T) { //nolint:paralleltest // the suite takes the agent away
	adaptertest.Run(t, adaptertest.Factory{
		New: func(t *testing.T) agent.Scheduler {
			t.Helper()
			return open(t, settings(t))
		},
		Launch: func(t *testing.T) broker.Launch {
			t.Helper()
			return launch(t)
		},
		Timeout: 60 * time.Second, Walltime: time.Second, Overtime: 20 * time.Second, Margin: margin, Many: 6,
		LoseAnswer: loseAnswer,
		Reopen: func(t *testing.T, _ agent.Scheduler) agent.Scheduler {
			t.Helper()
			return open(t, settings(t))
		},
		Stranger: func(t *testing.T, s agent.Scheduler) (agent.Scheduler, string) {
			t.Helper()
			return s, other // in the same namespace, where a name is taken for all
		},
		Requeue: requeue, Preempt: preempt, LoseNode: loseNode,
		FailLaunch: func(t *testing.T, l *broker.Launch) agent.Scheduler {
			t.Helper()
			l.Argv = []string{"/no/such/program"}
			return open(t, settings(t))
		},
		Kill: func(t *testing.T) func() {
			t.Helper()
			require.NoError(t, cluster.Down())
			return func() { require.NoError(t, cluster.Up(t.Context())) }
		},
		Hang: func(t *testing.T) func() {
			t.Helper()
			require.NoError(t, cluster.Pause())
			t.Cleanup(func() { _ = cluster.Resume() }) // twice is once
			return func() {
				require.NoError(t, cluster.Resume())
				require.NoError(t, cluster.Ready(t.Context()))
			}
		},
		Expire: expire, Gibberish: gibberish,
		Cannot: map[string]string{
			"OutOfMemory":    "the task driver of the lab has no cgroups; that Nomad's own word for it is known is a test of states",
			"OverBudget":     "quotas are Nomad Enterprise's, and nothing else in Nomad is a budget",
			"LoseAccounting": "usage is in the allocation itself, which the agent keeps: see Kill and Hang",
		},
	})
}

// proxied returns a scheduler whose every byte passes a proxy.
func proxied(t *testing.T) (agent.Scheduler, *faultproxy.Proxy) {
	t.Helper()
	p, err := faultproxy.Listen(t.Context(), "tcp", strings.TrimPrefix(cluster.Address, "http://"), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) }) // after the scheduler
	c := settings(t)
	c.Address = "http://" + p.Addr()
	return open(t, c), p
}

func loseAnswer(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	s, p := proxied(t)
	t.Cleanup(func() { require.Equal(t, 1, p.Lost()) })
	return s, func(t *testing.T, _ broker.Launch) {
		t.Helper()
		p.LoseAnswer("PUT /v1/jobs")
	}
}

func gibberish(t *testing.T) (s agent.Scheduler, gibber, plain func()) {
	t.Helper()
	s, p := proxied(t)
	p.Ask("Accept-Encoding: gzip", "Accept-Encoding: none")
	gibber = func() { p.Say(`"running"`, `"floated"`) }
	return s, gibber, func() {
		p.Unsay()
		p.Reset() // what was listed by the other word is listed again
	}
}

// requeue is what a drain does: Nomad kills the allocation and places another
// one, though the job allows no rescheduling.
func requeue(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	s := open(t, settings(t))
	return s, func(t *testing.T, l broker.Launch) {
		t.Helper()
		stopsAtLast(t, l)
		st, err := s.Find(t.Context(), l)
		require.NoError(t, err)
		_, err = cluster.API.Allocations().Stop(&api.Allocation{ID: st.Handle}, ours(t))
		require.NoError(t, err)
	}
}

// preempt has work of a higher priority take every GPU.
func preempt(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	set := func(on bool) {
		_, _, err := cluster.API.Operator().SchedulerSetConfiguration(&api.SchedulerConfiguration{
			SchedulerAlgorithm: api.SchedulerAlgorithmBinpack, PreemptionConfig: api.PreemptionConfig{BatchSchedulerEnabled: on, SystemSchedulerEnabled: true},
		}, (&api.WriteOptions{}).WithContext(context.Background()))
		require.NoError(t, err)
	}
	set(true)
	t.Cleanup(func() { set(false) })
	low, high := settings(t), settings(t)
	low.Priority, high.Priority = 20, 80
	h := open(t, high)
	return open(t, low), func(t *testing.T, l broker.Launch) {
		t.Helper()
		stopsAtLast(t, l)
		m := launch(t)
		m.Argv, m.Resources.GPUsPerNode = []string{"/bin/sleep", "1"}, cluster.GPUs
		require.NoError(t, h.Submit(t.Context(), m))
		t.Cleanup(func() { require.Equal(t, broker.OutcomeOK, await(t, h, m, ended).Outcome) })
	}
}

// loseNode kills the agent of the launch's node: Nomad notices by its heartbeats,
// after about 20 s.
func loseNode(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	kill, err := cluster.SecondNode(t.Context())
	require.NoError(t, err)
	c := settings(t)
	c.NodePool = nomadlab.SecondPool
	return open(t, c), func(t *testing.T, l broker.Launch) {
		t.Helper()
		stopsAtLast(t, l)
		require.NoError(t, kill())
	}
}

// stopsAtLast asserts that no replacement of a launch may run afterwards.
func stopsAtLast(t *testing.T, l broker.Launch) {
	t.Helper()
	t.Cleanup(func() {
		j, _, err := cluster.API.Jobs().Info(l.Name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(context.Background()))
		require.NoError(t, err)
		require.True(t, *j.Stop, "no replacement may run")
	})
}

func ours(t *testing.T) *api.QueryOptions {
	t.Helper()
	return (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context())
}

// expire gives the scheduler a token that Nomad has let expire.
func expire(t *testing.T) (s agent.Scheduler, expire, renew func()) {
	t.Helper()
	c := settings(t)
	c.CallTimeout = 5 * time.Second
	write := func(ttl time.Duration) string {
		secret, err := cluster.Token(context.Background(), cluster.Namespace, ttl)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(c.TokenFile, []byte(secret), 0o600))
		return secret
	}
	expire = func() {
		secret := write(2 * time.Second)
		require.Eventually(t, func() bool {
			q := (&api.QueryOptions{AuthToken: secret, Namespace: cluster.Namespace}).WithContext(t.Context())
			_, _, err := cluster.API.Jobs().List(q)
			return err != nil && strings.Contains(err.Error(), "403")
		}, pollFor, pollEach)
	}
	return open(t, c), expire, func() { write(neverForgotten) }
}
