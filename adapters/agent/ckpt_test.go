package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

const ckptData = "ckpt/job_one/data"

// counts is a launch that counts on in /ckpt and ends as it is told.
func (s *site) counts(end spool.Record) func(broker.Launch) agent.Status {
	return func(l broker.Launch) agent.Status {
		if !s.mark(l) {
			return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeExit, ExitCode: 77}
		}
		f, err := os.OpenFile(filepath.Join(s.dir, ckptData, "n"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString("x")
			err = errors.Join(err, f.Close())
		}
		end.Kind, end.At = spool.KindOutcome, s.clock.Now()
		w, spoolErr := spool.Create(filepath.Join(l.Dir, "spool"))
		if err := errors.Join(err, spoolErr); err != nil {
			s.t.Error(err)
			return agent.Status{State: agent.SchedulerEnded}
		}
		if err := errors.Join(w.Append(spool.Record{Kind: spool.KindStarted, At: end.At}), w.Append(end), w.Close()); err != nil {
			s.t.Error(err)
		}
		return agent.Status{State: agent.SchedulerEnded}
	}
}

func wrote() spool.Record {
	return spool.Record{Outcome: string(broker.OutcomeExit), Code: broker.CodeCheckpoint, ExitCode: broker.ResumeExit}
}

// segment runs one segment of the fixture's job and returns its report.
func (s *site) segment(a *agent.Agent, n int, end spool.Record) broker.AttemptReport {
	s.t.Helper()
	s.auth.Resume, s.auth.Segment = broker.Resume{Signal: "USR1", Before: time.Minute, MaxSegments: 3}, n
	s.sched.work = s.counts(end)
	id := broker.AttemptID("att_" + strconv.Itoa(n))
	require.NoError(s.t, a.Start(s.t.Context(), s.auth.Issue(s.t, id, nil)))
	return s.finish(a, id)
}

func TestACheckpointIsThereForTheNextSegmentAndGoesWithTheLast(t *testing.T) {
	t.Parallel()
	for _, telemetry := range []string{"full", "sealed"} {
		s := newSite(t)
		s.auth.Telemetry = telemetry
		a := s.open(s.config())
		for n := range 2 {
			r := s.segment(a, n+1, wrote())
			require.Equal(t, broker.OutcomeExit, r.Outcome)
			require.Equal(t, broker.CodeCheckpoint, r.Code, "agreed words come out of every job: %s", telemetry)
			require.Equal(t, broker.ResumeExit, r.ExitCode)
			require.Empty(t, r.Outputs.Files, "what is in /ckpt is no output")
			a = s.open(s.config())
		}
		argv := s.sched.launch.Argv
		require.Contains(t, argv, "--ckpt-max")
		require.NotContains(t, argv, "job_one")
		b, err := os.ReadFile(filepath.Join(s.dir, ckptData, "n"))
		require.NoError(t, err)
		require.Equal(t, "xx", string(b))
		s.segment(a, 3, spool.Record{Outcome: string(broker.OutcomeOK)})
		require.NoDirExists(t, filepath.Join(s.dir, "ckpt/job_one"), "the job is over")
	}
}

func TestCheckpointsAreClosedToOtherAccounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	s.segment(a, 1, wrote())
	for name, want := range map[string]os.FileMode{"ckpt": 0o711, "ckpt/job_one": 0o711, ckptData: 0o700, "ckpt/job_one/owner.json": 0o400} {
		fi, err := os.Stat(filepath.Join(s.dir, name))
		require.NoError(t, err)
		require.Equal(t, want, fi.Mode().Perm(), name)
	}
}

// Every one of these orders is genuine: signed, cleared and proven.
func TestAnotherJobPersonOrImageFindsNoCheckpoint(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *site){
		"another image": func(s *site) {
			s.auth.Layer = []byte("other")
			s.blobs.blobs[ordertest.DigestOf("other")] = s.auth.Layer
		},
		"another spec":   func(s *site) { s.auth.Telemetry = "metrics" },
		"more segments":  func(s *site) { s.auth.Resume.MaxSegments = 4 },
		"another folder": func(s *site) { require.NoError(s.t, os.WriteFile(s.owner(), []byte("{}"), 0o400)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			a := s.open(s.config())
			s.segment(a, 1, wrote())
			s.auth.Segment = 2
			require.NoError(t, os.Chmod(s.owner(), 0o600))
			change(s)
			require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, "att_2", nil)))
			r := s.finish(a, "att_2")
			require.Equal(t, broker.OutcomeLaunchFailed, r.Outcome)
			require.Equal(t, "ckpt_of_another", r.Code)
			require.Zero(t, s.sched.starts["att_2"])
		})
	}
}

func (s *site) owner() string { return filepath.Join(s.dir, "ckpt/job_one/owner.json") }

func TestASegmentWithoutItsCheckpointDoesNotBeginAnew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	s.segment(a, 1, wrote())
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "ckpt/job_one")))
	r := s.segment(a, 2, wrote())
	require.Equal(t, "ckpt_gone", r.Code)
	require.Equal(t, broker.OutcomeLaunchFailed, r.Outcome)
	require.Zero(t, s.sched.starts["att_2"])
}

func TestCheckpointsOfAJobThatEndedAreRemovedAfterTheirTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.CkptKeep = time.Hour
	a := s.open(c)
	s.segment(a, 1, spool.Record{Outcome: string(broker.OutcomeOOM), Code: "oom"})
	s.clock.add(59 * time.Minute)
	a.Turn(t.Context())
	require.DirExists(t, filepath.Join(s.dir, ckptData))
	s.clock.add(20 * time.Minute)
	a.Turn(t.Context())
	require.NoDirExists(t, filepath.Join(s.dir, "ckpt/job_one"))
}

func TestAnEndThatSomebodyAskedForIsNoReasonToGoOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	work := s.counts(wrote())
	s.auth.Resume, s.auth.Segment = broker.Resume{Signal: "USR1", Before: time.Minute, MaxSegments: 3}, 1
	s.sched.work = func(l broker.Launch) agent.Status {
		work(l)
		return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeCancelled} // by the site's operator
	}
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	r := s.finish(a, att)
	require.Equal(t, broker.OutcomeCancelled, r.Outcome)
	require.Equal(t, "scheduler_cancelled", r.Code)
}

// The agent dies at every point of a segment; the next one finds what it needs.
func TestASegmentSurvivesEveryDeathOfTheAgent(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		s := newSite(t)
		s.segment(s.open(s.config()), 1, wrote())
		s.auth.Segment = 2
		s.sched.work = s.counts(wrote())
		o := s.auth.Issue(t, "att_2", nil)
		m := &mortal{left: at}
		c := s.config()
		c.Step = m.step
		aside(func() {
			a := s.open(c)
			if a.Start(t.Context(), o) != nil {
				return
			}
			for range 8 {
				a.Turn(t.Context())
				s.clock.add(time.Second)
			}
		})
		if m.dead == "" {
			require.Greater(t, at, 5, "the points were found")
			return
		}
		a := s.open(s.config())
		require.NoError(t, a.Start(t.Context(), o))
		r := s.finish(a, "att_2")
		require.Equal(t, broker.CodeCheckpoint, r.Code, "dead at %s", m.dead)
		require.Equal(t, 1, s.sched.starts["att_2"])
		b, err := os.ReadFile(filepath.Join(s.dir, ckptData, "n"))
		require.NoError(t, err)
		require.Equal(t, "xx", string(b), "dead at %s", m.dead)
	}
}

func TestAJobOnSeveralNodesIsFencedOnEachAndItsEndsAreJoined(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.auth.Nodes, s.auth.Network = 3, "job"
	var secret []byte
	s.sched.work = func(l broker.Launch) agent.Status {
		secret, _ = os.ReadFile(filepath.Join(l.Dir, "secret"))
		for rank, o := range []broker.Outcome{broker.OutcomeCancelled, broker.OutcomeOOM, broker.OutcomeCancelled} {
			name := filepath.Join(l.Dir, "spool")
			if rank > 0 {
				name += "." + strconv.Itoa(rank)
			}
			w, err := spool.Create(name)
			require.NoError(t, err)
			require.NoError(t, errors.Join(w.Append(spool.Record{Kind: spool.KindStarted, At: s.clock.Now()}),
				w.Append(spool.Record{Kind: spool.KindOutcome, At: s.clock.Now(), Outcome: string(o), Code: string(o)}), w.Close()))
		}
		return agent.Status{State: agent.SchedulerEnded}
	}
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	require.Equal(t, broker.OutcomeOOM, s.finish(a, att).Outcome)
	require.Len(t, secret, 64)

	s.sched.work = func(broker.Launch) agent.Status { return agent.Status{State: agent.SchedulerEnded} } // it never began
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, "att_two", nil)))
	require.Equal(t, "never_started", s.finish(a, "att_two").Code)
	entries, err := os.ReadDir(filepath.Join(s.dir, "attempts", "att_two"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, mark := range []string{"start", "start.1", "start.2"} {
		require.True(t, slices.Contains(names, mark), mark)
	}
}
