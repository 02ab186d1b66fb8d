package adaptertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// Fault does something at the site to a launch that runs.
type Fault func(t *testing.T, l broker.Launch)

// Factory makes what the suite runs on.
type Factory struct {
	// New returns the scheduler under test; it may be the same each time.
	New func(t *testing.T) agent.Scheduler
	// Launch returns a launch with a new opaque name, a digest, an account that
	// may submit, an existing folder that the account may write to and small
	// resources with at least one GPU. The suite sets Argv, Hold and the walltime.
	Launch func(t *testing.T) broker.Launch
	// Programs is how the suite's programs run; nil is Shell.
	Programs Programs

	// Walltime is the shortest time limit that the scheduler keeps, and Overtime
	// how long after it a launch may take to be ended. 1 s and 10 s.
	Walltime, Overtime time.Duration
	// Timeout bounds how long the suite waits for anything else; 30 s.
	Timeout time.Duration
	// Margin is the scheduler's kill margin as configured; 1 s.
	Margin time.Duration
	// Many is how many launches the suite watches at once; 8.
	Many int

	// Hooks. What one of them changes at the site it changes back by t.Cleanup,
	// unless the suite is given a function for it.

	// LoseAnswer makes the answer to the coming Submit of a launch get lost on
	// its way, after the scheduler took it.
	LoseAnswer func(t *testing.T) (agent.Scheduler, Fault)
	// Reopen returns another scheduler over the same state, as after a restart
	// of our own process.
	Reopen func(t *testing.T, s agent.Scheduler) agent.Scheduler
	// Stranger returns a scheduler that submits as another account, and that
	// account.
	Stranger func(t *testing.T, s agent.Scheduler) (agent.Scheduler, string)
	// Requeue makes the scheduler put a running launch back into its queue.
	Requeue func(t *testing.T) (agent.Scheduler, Fault)
	// Preempt makes work that comes first take a running launch's node.
	Preempt func(t *testing.T) (agent.Scheduler, Fault)
	// LoseNode makes a running launch's node disappear.
	LoseNode func(t *testing.T) (agent.Scheduler, Fault)
	// OutOfMemory makes a running launch use more memory than it asked for.
	OutOfMemory func(t *testing.T) (agent.Scheduler, Fault)
	// FailLaunch changes a launch, or the site, so that the scheduler takes it
	// and its start fails.
	FailLaunch func(t *testing.T, l *broker.Launch) agent.Scheduler
	// OverBudget returns a scheduler that takes a launch which can never start,
	// because the site's own accounting has no time left for it.
	OverBudget func(t *testing.T, l *broker.Launch) agent.Scheduler
	// Kill kills the scheduler's daemon; begin starts it again and waits for it.
	Kill func(t *testing.T) (begin func())
	// Hang stops the daemon from answering, with its connections open.
	Hang func(t *testing.T) (resume func())
	// Expire returns a scheduler, what makes its credential expire, and what
	// renews it.
	Expire func(t *testing.T) (s agent.Scheduler, expire, renew func())
	// Gibberish makes the scheduler say a word for a launch's state that nobody
	// knows, until plain is called.
	Gibberish func(t *testing.T) (s agent.Scheduler, gibber, plain func())
	// LoseAccounting takes the accounting away; begin brings it back.
	LoseAccounting func(t *testing.T) (begin func())

	// Cannot says why the scheduler cannot have a fault, by the hook's name.
	Cannot map[string]string
}

// suite is a Factory with its defaults.
type suite struct{ Factory }

type testCase struct {
	name string
	run  func(*testing.T)
}

// Run runs the contract. It takes daemons and nodes away, so nothing else may
// use the site meanwhile: the test that calls it is not parallel.
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
	if f.Programs == nil {
		f.Programs = Shell{}
	}
	s := suite{f}
	s.complete(t)
	t.Run("together", func(t *testing.T) {
		for _, c := range s.together() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	})
	for _, c := range s.oneByOne() {
		t.Run(c.name, c.run)
	}
}

func (s suite) together() []testCase {
	return []testCase{
		{"a launch submitted twice starts once", s.twice},
		{"a launch submitted by many at once starts once", s.concurrent},
		{"a launch whose answer was lost starts once", s.lostAnswer},
		{"a launch is found again after a restart and not started again", s.reopened},
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
	}
}

func (s suite) oneByOne() []testCase {
	return []testCase{
		{"a launch that the scheduler puts back is ended and does not start again", s.requeued},
		{"a preempted launch says so and does not come back", s.preempted},
		{"a launch whose node is lost says so and is not started elsewhere", s.nodeLost},
		{"a launch over its memory says so", s.outOfMemory},
		{"a launch whose start fails does not wait for ever", s.launchFailed},
		{"a launch without a budget at the site is never silent", s.overBudget},
		{"a word that nobody knows is watched on", s.gibberish},
		{"a credential that expired is told from an outage", s.expired},
		{"a scheduler that is killed loses nothing and starts nothing twice", s.killed},
		{"a scheduler that hangs holds no call beyond its deadline", s.hung},
		{"usage waits for the accounting and is never zero meanwhile", s.accountingLost},
	}
}

// complete fails the test unless each hook is there, or a reason why not.
func (s suite) complete(t *testing.T) {
	t.Helper()
	hooks := map[string]bool{
		"LoseAnswer": s.LoseAnswer != nil, "Reopen": s.Reopen != nil, "Stranger": s.Stranger != nil, "Requeue": s.Requeue != nil,
		"Preempt": s.Preempt != nil, "LoseNode": s.LoseNode != nil, "OutOfMemory": s.OutOfMemory != nil,
		"FailLaunch": s.FailLaunch != nil, "OverBudget": s.OverBudget != nil, "Kill": s.Kill != nil, "Hang": s.Hang != nil,
		"Expire": s.Expire != nil, "Gibberish": s.Gibberish != nil, "LoseAccounting": s.LoseAccounting != nil,
	}
	for name, there := range hooks {
		why, excused := s.Cannot[name]
		require.NotEqual(t, there, excused, "the hook %s is there, or Cannot says why not", name)
		require.True(t, there || why != "", "Cannot gives a reason for %s", name)
	}
	for name := range s.Cannot {
		require.Contains(t, hooks, name, "Cannot names a hook")
	}
}

// applies reports whether a case has its hook, and says why where it has none.
func (s suite) applies(t *testing.T, hook string) bool {
	t.Helper()
	why, excused := s.Cannot[hook]
	if excused {
		t.Logf("not applicable here: %s", why)
	}
	return !excused
}

// await polls until a launch is as asked.
func (s suite) await(t *testing.T, sched agent.Scheduler, l broker.Launch, wait time.Duration, ok func(agent.Status) bool) agent.Status {
	t.Helper()
	var last agent.Status
	var failed error
	require.Eventually(t, func() bool {
		st, err := sched.Find(t.Context(), l)
		if failed = err; err == nil {
			last = st
		}
		return err == nil && ok(st)
	}, wait, 20*time.Millisecond, "launch %s stands at %+v, %v", l.Name, &last, &failed)
	return last
}

func ended(st agent.Status) bool   { return st.State == agent.SchedulerEnded }
func running(st agent.Status) bool { return st.State == agent.SchedulerRunning }
func queued(st agent.Status) bool  { return st.State == agent.SchedulerQueued }

// starts submits a launch and waits until the program itself has said that it
// started.
func (s suite) starts(t *testing.T, sched agent.Scheduler, l broker.Launch) {
	t.Helper()
	s.submit(t, sched, l)
	s.await(t, sched, l, s.Timeout, running)
	require.Eventually(t, func() bool { return s.Programs.Starts(t, l) > 0 }, s.Timeout, 20*time.Millisecond)
}

// submit submits a launch again until the scheduler has confirmed it.
func (s suite) submit(t *testing.T, sched agent.Scheduler, l broker.Launch) {
	t.Helper()
	var err error
	require.Eventually(t, func() bool {
		err = sched.Submit(t.Context(), l)
		return err == nil || broker.KindOf(err) != broker.KindUnavailable
	}, 2*s.Timeout, 50*time.Millisecond, "%v", &err)
	require.NoError(t, err)
}

// used polls for the usage of a launch.
func (s suite) used(t *testing.T, sched agent.Scheduler, l broker.Launch) broker.Usage {
	t.Helper()
	var u broker.Usage
	var err error
	require.Eventually(t, func() bool {
		u, err = sched.Usage(t.Context(), l)
		return err == nil
	}, s.Timeout, 50*time.Millisecond, "%v", &err)
	require.NotEmpty(t, u.Method)
	return u
}

// settled asserts what holds of every end: Watch says the same as Find, again
// and again, a further Submit starts nothing, and the program started this often.
func (s suite) settled(t *testing.T, sched agent.Scheduler, l broker.Launch, st agent.Status, starts int) {
	t.Helper()
	_ = sched.Submit(t.Context(), l) // it may be refused by now
	for range 3 {
		sts, err := sched.Watch(t.Context(), []broker.Launch{l})
		require.NoError(t, err)
		require.Equal(t, []agent.Status{st}, sts, "an end that was told stays")
	}
	require.Equal(t, starts, s.Programs.Starts(t, l), "starts of %s", l.Name)
}
