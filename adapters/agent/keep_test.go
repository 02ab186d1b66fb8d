package agent_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

func (s *site) folder(id broker.AttemptID) string {
	return filepath.Join(s.dir, "attempts", string(id))
}

func (s *site) keptOrder(id broker.AttemptID) string {
	return filepath.Join(s.dir, "journal", string(id)+".order")
}

// ran runs one attempt to its end, telemetry included if it goes out.
func (s *site) ran(a *agent.Agent, id broker.AttemptID) broker.AttemptReport {
	s.t.Helper()
	s.auth.Now = s.clock.Now()
	require.NoError(s.t, a.Start(s.t.Context(), s.auth.Issue(s.t, id, nil)))
	r := s.finish(a, id)
	a.Turn(s.t.Context())
	return r
}

// swept lets an agent look for what is old, d later.
func (s *site) swept(a *agent.Agent, d time.Duration) {
	s.t.Helper()
	s.clock.add(d)
	a.Turn(s.t.Context())
}

func TestWhatAnAttemptLeftGoesAfterItsTimeAndItsRecordAndOutputsStay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	o := s.auth.Issue(t, att, nil)
	require.NoError(t, a.Start(t.Context(), o))
	want := s.finish(a, att)
	s.swept(a, 7*24*time.Hour-time.Hour)
	require.DirExists(t, s.folder(att))
	require.FileExists(t, s.keptOrder(att))
	s.swept(a, 2*time.Hour)
	require.NoDirExists(t, s.folder(att))
	require.NoFileExists(t, s.keptOrder(att))
	fi, err := os.Stat(filepath.Join(s.dir, "journal", string(att)+".json"))
	require.NoError(t, err)
	require.Less(t, fi.Size(), int64(2048), "a record is small")

	for _, a := range []*agent.Agent{a, s.open(s.config())} { // and after a restart
		got := s.report(a, att)
		want.At, got.At = time.Time{}, time.Time{}
		require.Equal(t, want, got, "a broker that was away is still told, outputs included")
		require.NoError(t, a.Start(t.Context(), o), "the same order again is found")
		s.auth.Now = s.clock.Now()
		err := a.Start(t.Context(), s.auth.Issue(t, att, nil))
		require.Equal(t, order.CodeSecondStart, broker.CodeOf(err), "a fresh order of the attempt")
		a.Turn(t.Context())
		require.NoDirExists(t, s.folder(att))
		require.Equal(t, 1, s.sched.starts[string(att)])
	}
}

func TestAFolderStaysAsLongAsItsOrderMayBeStarted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.AttemptKeep = time.Minute
	a := s.open(c)
	require.Equal(t, broker.OutcomeOK, s.ran(a, att).Outcome) // may be started for an hour, by clocks that may be an hour apart
	c.AttemptBytes = 1                                        // everything is too much
	a = s.open(c)
	s.swept(a, time.Hour+50*time.Minute)
	require.DirExists(t, s.folder(att))
	s.swept(a, 20*time.Minute)
	require.NoDirExists(t, s.folder(att))
}

func TestWhatWasNotAcknowledgedIsNeverDroppedAndRefusesNewStarts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.AttemptBytes = 100 << 10
	a := s.open(c)
	s.sched.work = func(l broker.Launch) agent.Status {
		require.NoError(t, os.WriteFile(filepath.Join(l.Dir, "spool.9"), make([]byte, 80<<10), 0o600))
		return s.train(l)
	}
	s.tel.set(errAway)
	s.ran(a, "att_1")
	s.swept(a, 30*24*time.Hour) // the broker is away for long
	require.FileExists(t, filepath.Join(s.folder("att_1"), "spool"))
	for _, a := range []*agent.Agent{a, s.open(c)} { // it counts after a restart too
		id := broker.AttemptID("att_2" + strconv.Itoa(len(s.sched.starts)) + s.clock.Now().Format("1504"))
		r := s.ran(a, id)
		require.Equal(t, broker.OutcomeLaunchFailed, r.Outcome)
		require.Equal(t, agent.CodeDiskFull, r.Code)
		require.Zero(t, s.sched.starts[string(id)])
		require.NoDirExists(t, s.folder(id))
		s.clock.add(time.Minute)
	}
	require.FileExists(t, filepath.Join(s.folder("att_1"), "spool"))

	// The broker is back: it is told everything, and then there is room.
	s.tel.set(nil)
	a = s.last
	s.swept(a, time.Minute)
	require.Contains(t, s.tel.names("att_1"), "outputs_sealed")
	require.Equal(t, broker.OutcomeOK, s.ran(a, "att_3").Outcome)
	require.NoDirExists(t, s.folder("att_1"))
}

func TestBeyondTheBoundTheOldestGoesFirstAndWhatRunsIsNotTouched(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.AttemptBytes = 400 << 10
	a := s.open(c)
	fill := func(l broker.Launch) {
		require.NoError(t, os.WriteFile(filepath.Join(l.Dir, "spool.9"), make([]byte, 150<<10), 0o600))
	}
	s.sched.work = func(l broker.Launch) agent.Status {
		fill(l)
		return agent.Status{State: agent.SchedulerRunning}
	}
	s.auth.Now = s.clock.Now()
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, "att_runs", nil)))
	a.Turn(t.Context())
	s.sched.work = func(l broker.Launch) agent.Status {
		fill(l)
		return s.train(l)
	}
	for n := range 5 {
		id := broker.AttemptID("att_" + strconv.Itoa(n))
		require.Equal(t, broker.OutcomeOK, s.ran(a, id).Outcome, "the oldest made room")
		s.swept(a, 3*time.Hour)
	}
	require.NoDirExists(t, s.folder("att_0"))
	require.NoDirExists(t, s.folder("att_1"))
	require.NoDirExists(t, s.folder("att_2"))
	require.DirExists(t, s.folder("att_4"), "within its time and the bound")
	require.FileExists(t, filepath.Join(s.folder("att_runs"), "order.json"))
	require.Equal(t, broker.AttemptStarting, s.report(a, "att_runs").State)
}

func TestAFolderThatNoRecordExplainsIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.AttemptBytes = 64 << 10
	require.NoError(t, os.MkdirAll(s.folder("att_old"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(s.folder("att_old"), "start"), make([]byte, 80<<10), 0o600))
	a := s.open(c)
	s.swept(a, 100*24*time.Hour)
	require.FileExists(t, filepath.Join(s.folder("att_old"), "start"))
	s.auth.Now = s.clock.Now()
	require.Equal(t, agent.CodeDiskFull, s.ran(a, att).Code)
}

// A link that the account put into its folder leads the agent nowhere.
func TestALinkInAFolderIsRemovedAndWhatItNamesIsNot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "precious"), make([]byte, 1<<20), 0o600))
	s.sched.work = func(l broker.Launch) agent.Status {
		require.NoError(t, os.Symlink(other, filepath.Join(l.Dir, "more")))
		return s.train(l)
	}
	c := s.config()
	c.AttemptBytes = 512 << 10
	a := s.open(c)
	s.ran(a, "att_1")
	s.sched.work = s.train
	require.Equal(t, broker.OutcomeOK, s.ran(a, "att_2").Outcome, "it does not count")
	s.swept(a, 8*24*time.Hour)
	require.NoDirExists(t, s.folder("att_1"))
	require.FileExists(t, filepath.Join(other, "precious"))
}

// Who may run jobs may write into the folders of those that ended.
func TestAnAccountCannotFillTheBoundForOthersWithOneFolder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.work = func(l broker.Launch) agent.Status {
		for n := range 3 { // not written, allocated
			f, err := os.Create(filepath.Join(l.Dir, "junk"+strconv.Itoa(n)))
			require.NoError(t, err)
			require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, 64<<20))
			require.NoError(t, f.Close())
		}
		return s.train(l)
	}
	c := s.config()
	c.AttemptBytes = 100 << 20
	a := s.open(c)
	s.ran(a, "att_1")
	require.Equal(t, broker.OutcomeOK, s.ran(a, "att_2").Outcome)
	s.swept(a, 8*24*time.Hour)
	require.NoDirExists(t, s.folder("att_1"))
}

func TestWhatACrashLeftUnclearedGoesAtTheNextStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.Step = func(name string) {
		if name == "journal_sealed" {
			runtime.Goexit()
		}
	}
	a := s.open(c)
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	for range 4 {
		aside(func() { a.Turn(t.Context()) })
		s.clock.add(time.Second)
	}
	require.DirExists(t, filepath.Join(s.folder(att), "out"))
	a = s.open(s.config())
	s.finish(a, att)
	require.NoDirExists(t, filepath.Join(s.folder(att), "out"))
	require.NoDirExists(t, filepath.Join(s.folder(att), "root"))
}

// The agent dies at every point of a removal; the next one ends it, and between
// them a launcher finds order and start mark, or neither.
func TestARemovalSurvivesEveryDeathOfTheAgent(t *testing.T) {
	t.Parallel()
	var points []string
	for at := 1; ; at++ {
		s := newSite(t)
		o := s.auth.Issue(t, att, nil)
		a := s.open(s.config())
		require.NoError(t, a.Start(t.Context(), o))
		want := s.finish(a, att)
		s.clock.add(8 * 24 * time.Hour)
		m := &mortal{left: at}
		c := s.config()
		c.Step = m.step
		aside(func() { s.open(c).Turn(t.Context()) })
		_, noOrder := os.Stat(filepath.Join(s.folder(att), "order.json"))
		_, noMark := os.Stat(filepath.Join(s.folder(att), "start"))
		require.Equal(t, noMark == nil, noOrder == nil, "dead at %s", m.dead)
		if m.dead == "" {
			require.Equal(t, []string{"attempt_out_of_place", "attempt_removed", "order_removed"}, points)
			return
		}
		points = append(points, m.dead)
		a = s.open(s.config())
		a.Turn(t.Context())
		left, err := os.ReadDir(filepath.Join(s.dir, "attempts"))
		require.NoError(t, err)
		require.Empty(t, left, "dead at %s", m.dead)
		require.NoFileExists(t, s.keptOrder(att), "dead at %s", m.dead)
		got := s.report(a, att)
		want.At, got.At = time.Time{}, time.Time{}
		require.Equal(t, want, got, "dead at %s", m.dead)
		require.NoError(t, a.Start(t.Context(), o))
		a.Turn(t.Context())
		require.Equal(t, 1, s.sched.starts[string(att)], "dead at %s", m.dead)
	}
}
