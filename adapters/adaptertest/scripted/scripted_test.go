package scripted_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/adaptertest/scripted"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// programs are the suite's programs as plans.
type programs struct{ c *scripted.Cluster }

func (programs) Make(l *broker.Launch, p adaptertest.Program) {
	l.Argv = scripted.Plan{
		Run: p.For, Until: p.Wait, Exit: p.Exit, Notes: p.Term == adaptertest.TermNoted, Deaf: p.Term == adaptertest.TermDeaf,
	}.Argv()
}

func (p programs) Starts(t *testing.T, l broker.Launch) int {
	t.Helper()
	return p.c.Starts(l)
}

func (p programs) Noted(t *testing.T, l broker.Launch) bool {
	t.Helper()
	return p.c.Noted(l)
}

func (p programs) Release(t *testing.T, l broker.Launch) {
	t.Helper()
	p.c.Release(l)
}

func launch(i int) broker.Launch {
	name := fmt.Sprintf("a%d", i)
	return broker.Launch{
		Name: name, Account: "someone", OrderDigest: broker.DigestOf([]byte(name)), Dir: "/nowhere", Argv: scripted.Plan{}.Argv(),
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 2, CPUsPerNode: 1, Walltime: time.Minute},
	}
}

func TestTheScriptedSiteKeepsTheContractWithNoCaseLeftOut(t *testing.T) { //nolint:paralleltest // the suite takes the site away
	c := scripted.New(scripted.Config{Again: time.Minute})
	as := func(t *testing.T, f func(broker.Launch)) (agent.Scheduler, adaptertest.Fault) {
		t.Helper()
		return c.Open(), func(t *testing.T, l broker.Launch) { t.Helper(); f(l) }
	}
	ends := func(o broker.Outcome) func(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
		return func(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
			t.Helper()
			return as(t, func(l broker.Launch) { c.End(l, o) })
		}
	}
	adaptertest.Run(t, adaptertest.Factory{
		New: func(t *testing.T) agent.Scheduler { t.Helper(); return c.Open() },
		Launch: func(t *testing.T) broker.Launch {
			t.Helper()
			l := launch(0)
			l.Name = broker.NewID[string]("att")
			l.OrderDigest = broker.DigestOf([]byte(l.Name))
			return l
		},
		Programs: programs{c},
		LoseAnswer: func(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
			t.Helper()
			return as(t, func(l broker.Launch) { c.LoseAnswers(l, 1) })
		},
		Reopen:   func(t *testing.T, _ agent.Scheduler) agent.Scheduler { t.Helper(); return c.Open() },
		Stranger: func(t *testing.T, _ agent.Scheduler) (agent.Scheduler, string) { t.Helper(); return c.Open(), "other" },
		Requeue:  func(t *testing.T) (agent.Scheduler, adaptertest.Fault) { t.Helper(); return as(t, c.Requeue) },
		Preempt:  ends(broker.OutcomePreempted), LoseNode: ends(broker.OutcomeNodeFail), OutOfMemory: ends(broker.OutcomeOOM),
		FailLaunch: func(t *testing.T, l *broker.Launch) agent.Scheduler {
			t.Helper()
			l.Argv = scripted.Plan{Fails: true}.Argv()
			return c.Open()
		},
		OverBudget: func(t *testing.T, l *broker.Launch) agent.Scheduler {
			t.Helper()
			l.Account = "poor"
			c.Break(l.Account)
			return c.Open()
		},
		Kill: func(t *testing.T) func() { t.Helper(); c.Down(); return c.Up },
		Hang: func(t *testing.T) func() { t.Helper(); c.Hang(); return c.Resume },
		Expire: func(t *testing.T) (agent.Scheduler, func(), func()) {
			t.Helper()
			s := c.Open()
			return s, c.Expire, s.Renew
		},
		Gibberish: func(t *testing.T) (agent.Scheduler, func(), func()) {
			t.Helper()
			return c.Open(), func() { c.Gibber(true) }, func() { c.Gibber(false) }
		},
		LoseAccounting: func(t *testing.T) func() {
			t.Helper()
			c.LoseAccounting(true)
			return func() { c.LoseAccounting(false) }
		},
	})
}

func TestALaunchThatWasPutBackStartsAgainUnlessSomebodyLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := scripted.New(scripted.Config{})
		s, l := c.Open(), launch(1)
		l.Argv = scripted.Plan{Until: true}.Argv()
		require.NoError(t, s.Submit(t.Context(), l))
		c.Requeue(l)
		time.Sleep(3 * time.Second) //nolint:forbidigo // virtual time of synctest
		require.Equal(t, 2, c.Starts(l), "the cluster is as bad as real ones")
	})
}

func TestAScriptIsDoneInItsOrderAtItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var did []string
		l := launch(1)
		l.Argv = scripted.Plan{Queue: time.Minute, Run: time.Hour}.Argv()
		l.Resources.Walltime = 2 * time.Hour
		c := scripted.New(scripted.Config{Script: []scripted.Event{
			{At: 2 * time.Hour, Do: func(*scripted.Cluster) { did = append(did, "late") }},
			{At: 30 * time.Minute, Do: func(c *scripted.Cluster) { did = append(did, "node"); c.End(l, broker.OutcomeNodeFail) }},
		}})
		s := c.Open()
		require.NoError(t, s.Submit(t.Context(), l))
		st, err := s.Find(t.Context(), l)
		require.NoError(t, err)
		require.Equal(t, agent.SchedulerQueued, st.State)
		time.Sleep(24 * time.Hour) //nolint:forbidigo // virtual time of synctest
		st, err = s.Find(t.Context(), l)
		require.NoError(t, err)
		require.Equal(t, broker.OutcomeNodeFail, st.Outcome)
		require.Equal(t, []string{"node", "late"}, did)
		u, err := s.Usage(t.Context(), l)
		require.NoError(t, err)
		require.Equal(t, 29*time.Minute, u.Elapsed, "a day passed at once, and each thing at its own time")
	})
}

func TestGPUsAreNeverGivenTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := scripted.New(scripted.Config{GPUs: 4})
		s := c.Open()
		var ls []broker.Launch
		for i := range 5 {
			l := launch(i)
			l.Argv = scripted.Plan{Run: time.Second}.Argv()
			require.NoError(t, s.Submit(t.Context(), l))
			ls = append(ls, l)
		}
		for _, want := range []int{2, 2, 1, 0} {
			sts, err := s.Watch(t.Context(), ls)
			require.NoError(t, err)
			n := 0
			for _, st := range sts {
				if st.State == agent.SchedulerRunning {
					n++
				}
			}
			require.Equal(t, want, n)
			time.Sleep(time.Second) //nolint:forbidigo // virtual time of synctest
		}
		big := launch(9)
		big.Resources.GPUsPerNode = 5
		require.Equal(t, broker.KindInvalid, broker.KindOf(s.Submit(t.Context(), big)))
	})
}

// Ten thousand launches are what the scale benchmarks need of it.
func BenchmarkTenThousandLaunches(b *testing.B) {
	const n = 10_000
	b.ReportAllocs()
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c := scripted.New(scripted.Config{})
		s := c.Open()
		ls := make([]broker.Launch, n)
		for i := range ls {
			ls[i] = launch(i)
			ls[i].Argv = []string{"/bin/true"}
			require.NoError(b, s.Submit(b.Context(), ls[i]))
		}
		began := time.Now()
		sts, err := s.Watch(b.Context(), ls)
		require.NoError(b, err)
		require.Len(b, sts, n)
		b.ReportMetric(float64(time.Since(began).Microseconds()), "µs/watch")
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "B/launch")
	}
}
