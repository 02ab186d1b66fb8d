package adaptertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// Factory makes what the suite runs on.
type Factory struct {
	// New returns the scheduler under test; it may be the same each time.
	New func(t *testing.T) agent.Scheduler
	// Launch returns a launch with a new opaque name, a digest, an account that
	// may submit, an existing folder that the account may write to and small
	// resources. The suite sets Argv, Hold and the walltime.
	Launch func(t *testing.T) broker.Launch

	// Walltime is the shortest time limit that the scheduler keeps, and Overtime
	// how long after it a launch may take to be ended. 1 s and 10 s.
	Walltime, Overtime time.Duration
	// Timeout bounds how long the suite waits for anything else; 30 s.
	Timeout time.Duration
	// Margin is the scheduler's kill margin as configured; 1 s.
	Margin time.Duration
	// Many is how many launches the suite watches at once; 8.
	Many int

	// LoseAnswer makes the scheduler's next Submit take effect and fail. Nil
	// leaves the case out.
	LoseAnswer func(t *testing.T, s agent.Scheduler)
	// Reopen returns another scheduler over the same state, as after a restart.
	// Nil leaves the cases out.
	Reopen func(t *testing.T, s agent.Scheduler) agent.Scheduler
	// Stranger returns a scheduler that submits as another account, and that
	// account. Nil leaves the case out.
	Stranger func(t *testing.T) (agent.Scheduler, string)
}

// suite is a Factory with its defaults.
type suite struct{ Factory }

// Run runs the contract.
func Run(t *testing.T, f Factory) {
	t.Helper()
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&f.Walltime, time.Second)
	def(&f.Overtime, 10*time.Second)
	def(&f.Timeout, 30*time.Second)
	def(&f.Margin, time.Second)
	if f.Many <= 0 {
		f.Many = 8
	}
	s := suite{f}
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a launch submitted twice starts once", s.twice},
		{"a launch submitted by many at once starts once", s.concurrent},
		{"a launch whose answer was lost starts once", s.lostAnswer},
		{"a launch is found again after a restart and not started again", s.restart},
		{"an unknown launch is not found", s.unknown},
		{"a launch of another order under the same name is not found", s.otherOrder},
		{"a stranger's launch of the same name is not ours", s.stranger},
		{"a cancelled queued launch never starts", s.cancelQueued},
		{"a cancelled running launch gets TERM and ends", s.cancelRunning},
		{"a launch that is deaf to TERM is killed", s.cancelDeaf},
		{"cancelling what ended or is unknown is no error", s.cancelEnded},
		{"exit codes come back as they are", s.exitCodes},
		{"a launch over its time limit is ended and says so", s.walltime},
		{"usage counts the time and the GPUs of a launch", s.usage},
		{"many launches are watched at once and unknown ones left out", s.watchMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// launch makes a launch that runs a shell script. The script finds its folder
// in $d and first writes down that it started.
func (s suite) launch(t *testing.T, script string) broker.Launch {
	t.Helper()
	l := s.Launch(t)
	l.Argv = []string{"/bin/sh", "-c", fmt.Sprintf("d='%s'; echo start >>\"$d/starts\"; %s", l.Dir, script)}
	if l.Resources.Walltime <= 0 {
		l.Resources.Walltime = max(time.Minute, s.Walltime)
	}
	return l
}

// starts counts how often a launch's program really started.
func starts(t *testing.T, l broker.Launch) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	return strings.Count(string(b), "\n")
}

// await polls until a launch is as asked.
func (s suite) await(t *testing.T, sched agent.Scheduler, l broker.Launch, wait time.Duration, ok func(agent.Status) bool) agent.Status {
	t.Helper()
	var last agent.Status
	require.Eventually(t, func() bool {
		st, err := sched.Find(t.Context(), l)
		if err == nil {
			last = st
		}
		return err == nil && ok(st)
	}, wait, 20*time.Millisecond, "launch %s stands at %+v", l.Name, &last)
	return last
}

func ended(st agent.Status) bool { return st.State == agent.SchedulerEnded }

// runs waits until the program itself has said that it started.
func (s suite) runs(t *testing.T, sched agent.Scheduler, l broker.Launch) {
	t.Helper()
	s.await(t, sched, l, s.Timeout, func(st agent.Status) bool { return st.State == agent.SchedulerRunning })
	require.Eventually(t, func() bool { return starts(t, l) > 0 }, s.Timeout, 20*time.Millisecond)
}

func (s suite) twice(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "sleep 0.2")
	require.NoError(t, sched.Submit(t.Context(), l))
	require.NoError(t, sched.Submit(t.Context(), l))
	s.await(t, sched, l, s.Timeout, ended)
	require.NoError(t, sched.Submit(t.Context(), l), "after its end too")
	s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, 1, starts(t, l))
}

func (s suite) concurrent(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "sleep 0.2")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = sched.Submit(t.Context(), l) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil { // an answer that is unknown is allowed; asking again settles it
			require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
			require.NoError(t, sched.Submit(t.Context(), l))
		}
	}
	s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, 1, starts(t, l))
}

func (s suite) lostAnswer(t *testing.T) {
	t.Helper()
	if s.LoseAnswer == nil {
		return
	}
	sched, l := s.New(t), s.launch(t, "sleep 0.2")
	s.LoseAnswer(t, sched)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(sched.Submit(t.Context(), l)))
	require.NoError(t, sched.Submit(t.Context(), l))
	s.await(t, sched, l, s.Timeout, ended)
	require.Equal(t, 1, starts(t, l))
}

func (s suite) restart(t *testing.T) {
	t.Helper()
	if s.Reopen == nil {
		return
	}
	sched, l := s.New(t), s.launch(t, `while [ ! -e "$d/end" ]; do sleep 0.05; done`)
	require.NoError(t, sched.Submit(t.Context(), l))
	s.runs(t, sched, l)
	again := s.Reopen(t, sched)
	s.await(t, again, l, s.Timeout, func(st agent.Status) bool { return st.State == agent.SchedulerRunning })
	require.NoError(t, again.Submit(t.Context(), l))
	require.NoError(t, os.WriteFile(filepath.Join(l.Dir, "end"), nil, 0o600))
	s.await(t, again, l, s.Timeout, func(st agent.Status) bool {
		return st.State == agent.SchedulerEnded || st.State == agent.SchedulerGone
	})
	require.Equal(t, 1, starts(t, l))
}

func (s suite) unknown(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "true")
	_, err := sched.Find(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
}

func (s suite) otherOrder(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "true")
	require.NoError(t, sched.Submit(t.Context(), l))
	other := l
	other.OrderDigest = broker.DigestOf([]byte("another order"))
	_, err := sched.Find(t.Context(), other)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
	require.NoError(t, sched.Cancel(t.Context(), other), "it must not reach ours either")
	require.Equal(t, broker.OutcomeOK, s.await(t, sched, l, s.Timeout, ended).Outcome)
}

func (s suite) stranger(t *testing.T) {
	t.Helper()
	if s.Stranger == nil {
		return
	}
	sched, l := s.New(t), s.launch(t, "sleep 0.2")
	theirs, account := s.Stranger(t)
	m := s.launch(t, "sleep 1")
	m.Name, m.Account, m.OrderDigest = l.Name, account, broker.DigestOf([]byte("a stranger's order"))
	require.NoError(t, theirs.Submit(t.Context(), m))
	_, err := sched.Find(t.Context(), l)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%v", err)
	require.NoError(t, sched.Submit(t.Context(), l))
	require.Equal(t, broker.OutcomeOK, s.await(t, sched, l, s.Timeout, ended).Outcome)
	require.Equal(t, 1, starts(t, l))
}

func (s suite) exitCodes(t *testing.T) {
	t.Helper()
	sched := s.New(t)
	for _, c := range []struct {
		script  string
		outcome broker.Outcome
		code    int
	}{
		{"exit 0", broker.OutcomeOK, 0},
		{"exit 7", broker.OutcomeExit, 7},
		{"exit 77", broker.OutcomeExit, 77},
	} {
		l := s.launch(t, c.script)
		require.NoError(t, sched.Submit(t.Context(), l))
		st := s.await(t, sched, l, s.Timeout, ended)
		require.Equal(t, c.outcome, st.Outcome, c.script)
		require.Equal(t, c.code, st.ExitCode, c.script)
		require.Equal(t, l.Name, st.Name)
	}
}

func (s suite) walltime(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "exec sleep 600")
	l.Resources.Walltime = s.Walltime
	require.NoError(t, sched.Submit(t.Context(), l))
	st := s.await(t, sched, l, s.Timeout+s.Walltime+s.Overtime, ended)
	require.Equal(t, broker.OutcomeWalltime, st.Outcome)
}

func (s suite) usage(t *testing.T) {
	t.Helper()
	sched, l := s.New(t), s.launch(t, "sleep 1.2")
	require.NoError(t, sched.Submit(t.Context(), l))
	s.await(t, sched, l, s.Timeout, ended)
	var u broker.Usage
	require.Eventually(t, func() bool {
		var err error
		u, err = sched.Usage(t.Context(), l)
		return err == nil
	}, s.Timeout, 50*time.Millisecond)
	require.NotEmpty(t, u.Method)
	require.GreaterOrEqual(t, u.Elapsed, time.Second)
	require.Equal(t, int64(l.Resources.GPUs())*int64(u.Elapsed/time.Second), u.GPUSeconds)
}

func (s suite) watchMany(t *testing.T) {
	t.Helper()
	sched := s.New(t)
	var ls []broker.Launch
	for range s.Many {
		l := s.launch(t, "exit 3")
		require.NoError(t, sched.Submit(t.Context(), l))
		ls = append(ls, l)
	}
	asked := append([]broker.Launch{s.launch(t, "true")}, ls...) // the first was never submitted
	var sts []agent.Status
	require.Eventually(t, func() bool {
		var err error
		sts, err = sched.Watch(t.Context(), asked)
		if err != nil || len(sts) != len(ls) {
			return false
		}
		for _, st := range sts {
			if !ended(st) {
				return false
			}
		}
		return true
	}, 2*s.Timeout, 50*time.Millisecond)
	names := map[string]bool{}
	for _, st := range sts {
		names[st.Name] = true
		require.Equal(t, 3, st.ExitCode)
	}
	require.Len(t, names, len(ls))
}
