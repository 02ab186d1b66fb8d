package agent_test

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
)

const att = broker.AttemptID("att_one")

func TestAnOrderIsRunSealedAndReported(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	require.Equal(t, broker.AttemptSubmitting, s.report(a, att).State)
	r := s.finish(a, att)
	require.Equal(t, broker.OutcomeOK, r.Outcome)
	require.Equal(t, int64(9), r.Usage.GPUSeconds)
	require.False(t, r.StartedAt.IsZero())
	require.True(t, r.Outputs.Sandbox)
	require.Equal(t, broker.DigestOf(r.Outputs.Bytes), r.Outputs.Digest)
	require.Equal(t, []broker.OutputFile{
		{Path: "logs/loss.csv", SizeBytes: 6, Digest: ordertest.DigestOf("1,0.5\n")},
		{Path: "model.bin", SizeBytes: 7, Digest: ordertest.DigestOf("weights")},
	}, r.Outputs.Files)
	require.Equal(t, []string{"order_accepted", "started", "loss", "stdout", "gpu_missing", "ended", "outputs_sealed"}, s.tel.names(att))
	require.Equal(t, 1, s.sched.starts[string(att)])

	dir := filepath.Join(s.dir, "attempts", string(att))
	require.NoDirExists(t, filepath.Join(dir, "root"))
	require.NoDirExists(t, filepath.Join(dir, "out"))
	require.FileExists(t, filepath.Join(dir, "start"))
	again := s.open(s.config())
	require.Equal(t, r.Outputs, s.report(again, att).Outputs, "after a restart too")
}

func TestTheSiteIsLaidOutAsTheNodesExpect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	modes := map[string]os.FileMode{}
	s.sched.work = func(l broker.Launch) agent.Status {
		for _, p := range []string{"order.json", "out", "."} {
			fi, err := os.Lstat(filepath.Join(l.Dir, p))
			if err == nil {
				modes[p] = fi.Mode().Perm()
			}
		}
		return s.train(l)
	}
	a := s.open(s.config())
	o := s.auth.Issue(t, att, nil)
	require.NoError(t, a.Start(t.Context(), o))
	s.finish(a, att)
	require.Equal(t, map[string]os.FileMode{"order.json": 0o400, "out": 0o700, ".": 0o700}, modes)
	for name, want := range map[string]os.FileMode{
		"attempts": 0o711, "quarantine": 0o700, "journal": 0o700, "images/blobs/sha256": 0o711,
		"quarantine/" + string(att): 0o700, "images/oci-layout": 0o444,
		"images/blobs/sha256/" + o.Order.Image.Hex():                      0o444,
		"images/blobs/sha256/" + broker.DigestOf(s.auth.Layer).Hex():      0o444,
		"images/blobs/sha256/" + broker.DigestOf(o.Evidence.Config).Hex(): 0o444,
	} {
		fi, err := os.Stat(filepath.Join(s.dir, name))
		require.NoError(t, err)
		require.Equal(t, want, fi.Mode().Perm(), name)
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, "attempts", string(att), "order.json"))
	require.NoError(t, err)
	want, err := order.Encode(o)
	require.NoError(t, err)
	require.Equal(t, want, raw)
	require.Equal(t, broker.DigestOf(raw), s.sched.launch.OrderDigest)
}

func TestAnAccountOfItsOwnGetsItsFolderAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	uid := os.Geteuid()
	if uid == 0 { // only root may give files away
		uid = stranger
	}
	c := s.config()
	c.Accounts = func(name string) (int, int, error) {
		require.Equal(t, account, name)
		return uid, os.Getegid(), nil
	}
	s.sched.work = func(l broker.Launch) agent.Status {
		for _, p := range []string{"", "order.json", "out"} {
			fi, err := os.Lstat(filepath.Join(l.Dir, p))
			require.NoError(t, err)
			st, ok := fi.Sys().(*syscall.Stat_t)
			require.True(t, ok)
			require.Equal(t, uid, int(st.Uid), p)
		}
		fi, err := os.Stat(l.Dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), fi.Mode().Perm(), "its name is known: it is the launch's, which every user of the site may list")
		st := s.train(l)
		require.NoError(t, filepath.WalkDir(filepath.Join(l.Dir, "out"), func(p string, _ fs.DirEntry, _ error) error {
			return os.Lchown(p, uid, -1)
		}))
		return st
	}
	a := s.open(c)
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	require.Equal(t, broker.OutcomeOK, s.finish(a, att).Outcome)
	fi, err := os.Stat(filepath.Join(s.dir, "quarantine", string(att), "out", "model.bin"))
	require.NoError(t, err)
	st, ok := fi.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.Equal(t, os.Geteuid(), int(st.Uid), "the copy is the agent's")
}

func TestNothingTheSchedulerSeesNamesAnything(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	s.finish(a, att)
	seen := fmt.Sprintf("%+v", s.sched.launch)
	for _, secret := range []string{
		person, "ada", s.auth.Doc.ID, s.auth.Doc.Datasets[0].PURI, "cohort", "screening", "53(1)", "ten_one", "job_one", "SEED", "/train",
	} {
		require.NotContains(t, seen, secret)
	}
}

func TestARepeatedStartDoesNothingAndAnotherOrderIsASecondStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	o := s.auth.Issue(t, att, nil)
	require.NoError(t, a.Start(t.Context(), o))
	require.NoError(t, a.Start(t.Context(), o))
	other := s.auth.Issue(t, att, func(o *broker.WorkOrder) { o.ID = "ord_two" })
	require.Equal(t, order.CodeSecondStart, broker.CodeOf(a.Start(t.Context(), other)))
	s.finish(a, att)
	s.clock.add(24 * time.Hour) // the order has expired, but it is the one that ran
	require.NoError(t, a.Start(t.Context(), o))
	require.Equal(t, 1, s.sched.starts[string(att)])
	require.Equal(t, 1, s.sched.submits)
}

func TestWhatVerifyRefusesIsRefusedUnchangedAndNeverSubmitted(t *testing.T) {
	t.Parallel()
	for code, edit := range map[string]func(*broker.WorkOrder){
		order.CodeWrongSite:    func(o *broker.WorkOrder) { o.Site = "site_two" },
		order.CodeWrongAccount: func(o *broker.WorkOrder) { o.Account = "root" },
		order.CodeExpired:      func(o *broker.WorkOrder) { o.NotBefore, o.NotAfter = o.NotBefore.Add(-time.Hour), o.NotBefore },
		order.CodeCommand:      func(o *broker.WorkOrder) { o.Command = []string{"/bin/sh"} },
	} {
		s := newSite(t)
		a := s.open(s.config())
		err := a.Start(t.Context(), s.auth.Issue(t, att, edit))
		require.Equal(t, code, broker.CodeOf(err))
		require.Equal(t, broker.KindForbidden, broker.KindOf(err))
		a.Turn(t.Context())
		require.Zero(t, s.sched.submits)
		rs, err := a.Reports(t.Context(), []broker.AttemptID{att})
		require.NoError(t, err)
		require.Empty(t, rs)
		if code != order.CodeWrongSite { // whoever it is for, it is not ours to speak of
			require.Equal(t, []string{code}, s.tel.names(att))
		}
	}
}

func TestASiteWithoutTrustStartsNothingAndSaysTryAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "trust.json")))
	a := s.open(s.config())
	require.Equal(t, broker.KindUnavailable, broker.KindOf(a.Start(t.Context(), s.auth.Issue(t, att, nil))))
	require.Zero(t, s.sched.submits)
}

func TestALayerOfOtherBytesEndsTheAttempt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.blobs.blobs[broker.DigestOf(s.auth.Layer)] = []byte("lay3r")
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	r := s.finish(a, att)
	require.Equal(t, broker.OutcomeLaunchFailed, r.Outcome)
	require.Equal(t, order.CodeImageTampered, r.Code)
	require.Zero(t, s.sched.submits)
	require.NoFileExists(t, filepath.Join(s.dir, "images", "blobs", "sha256", broker.DigestOf(s.auth.Layer).Hex()))
}

func TestAStoreThatIsAwayIsTriedUntilTheOrderExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.blobs.set(errAway)
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	require.Equal(t, broker.AttemptSubmitting, s.report(a, att).State)
	s.clock.add(2 * time.Hour)
	r := s.finish(a, att)
	require.Equal(t, order.CodeExpired, r.Code)
	require.Zero(t, s.sched.submits)
}

func TestAnAttemptStoppedBeforeItIsSubmittedIsNeverSubmitted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.blobs.set(errAway)
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	require.NoError(t, a.Stop(t.Context(), att))
	s.blobs.set(nil)
	require.Equal(t, broker.OutcomeCancelled, s.finish(a, att).Outcome)
	require.Zero(t, s.sched.submits)
}

func TestAStopThatComesBeforeTheOrderRefusesIt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	require.NoError(t, a.Stop(t.Context(), att))
	require.NoError(t, a.Stop(t.Context(), att))
	again := s.open(s.config())
	require.Equal(t, "attempt_stopped", broker.CodeOf(again.Start(t.Context(), s.auth.Issue(t, att, nil))))
	again.Turn(t.Context())
	require.Zero(t, s.sched.submits)
	require.Equal(t, broker.OutcomeCancelled, s.report(again, att).Outcome)
}

func TestAStopWhileTheAnswerIsUnknownFencesTheAttemptOff(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.down = errAway
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	require.NoError(t, a.Stop(t.Context(), att))
	s.sched.down = nil
	s.clock.add(2 * time.Second)
	r := s.finish(a, att)
	require.Equal(t, broker.OutcomeCancelled, r.Outcome)
	l := broker.Launch{Name: string(att), Dir: filepath.Join(s.dir, "attempts", string(att))}
	require.False(t, s.mark(l), "what arrives late finds the start mark")
}

func TestARunningAttemptThatIsStoppedIsCancelled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.work = func(l broker.Launch) agent.Status {
		require.True(t, s.mark(l))
		return agent.Status{State: agent.SchedulerRunning}
	}
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	a.Turn(t.Context())
	require.Equal(t, broker.AttemptStarting, s.report(a, att).State)
	require.NoError(t, s.spool(s.sched.launch, broker.OutcomeCancelled))
	a.Turn(t.Context())
	require.Equal(t, broker.AttemptRunning, s.report(a, att).State)
	require.NoError(t, a.Stop(t.Context(), att))
	require.Equal(t, broker.OutcomeCancelled, s.finish(a, att).Outcome)
	require.Equal(t, 1, s.sched.cancels)
}

func TestAQueuedAttemptSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.work = func(broker.Launch) agent.Status {
		return agent.Status{State: agent.SchedulerQueued, Waiting: broker.Wait(broker.WaitPriority, "Priority", time.Time{})}
	}
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	a.Turn(t.Context())
	r := s.report(a, att)
	require.Equal(t, broker.AttemptQueued, r.State)
	require.Equal(t, "Priority", r.Waiting.Words)

	s.sched.down = errAway
	a.Turn(t.Context())
	require.Equal(t, broker.WaitPriority, s.report(a, att).Waiting.Code, "a moment's silence is no news")
	s.clock.add(15 * time.Second)
	a.Turn(t.Context())
	require.Equal(t, broker.WaitSchedulerUnreachable, s.report(a, att).Waiting.Code)
	s.sched.down = nil
	a.Turn(t.Context())
	require.Equal(t, broker.WaitPriority, s.report(a, att).Waiting.Code)
}

// TestAnAgentThatDiesAnywhereStartsNothingTwiceAndEndsEverything abandons the
// agent at each point between two writes in turn and opens another.
func TestAnAgentThatDiesAnywhereStartsNothingTwiceAndEndsEverything(t *testing.T) {
	t.Parallel()
	var points []string
	for n := 1; ; n++ {
		require.Less(t, n, 100)
		s := newSite(t)
		o := s.auth.Issue(t, att, nil)
		m := &mortal{left: n}
		c := s.config()
		c.Step = m.step
		first := s.open(c)
		aside(func() { _ = first.Start(t.Context(), o) })
		for range 3 {
			aside(func() { first.Turn(t.Context()) })
		}
		if m.dead == "" {
			break
		}
		points = append(points, m.dead)
		second := s.open(s.config())
		require.NoError(t, second.Start(t.Context(), o), m.dead) // as dispatch repeats it
		r := s.finish(second, att)
		require.Equal(t, broker.OutcomeOK, r.Outcome, m.dead)
		require.Len(t, r.Outputs.Files, 2, m.dead)
		require.Equal(t, 1, s.sched.starts[string(att)], m.dead)
		require.Equal(t, []string{"order_accepted", "started", "loss", "stdout", "gpu_missing", "ended", "outputs_sealed"}, s.tel.names(att), m.dead)
		left, err := filepath.Glob(filepath.Join(s.dir, "*", ".new-*"))
		require.NoError(t, err)
		require.Empty(t, left, m.dead)
	}
	for _, p := range []string{"order_kept", "journal_received", "image_staged", "journal_staged", "journal_submitting", "submitted", "journal_submitted", "journal_ended", "outputs_sealed", "journal_sealed", "published"} {
		require.Contains(t, points, p)
	}
	t.Logf("died at %d points: %s", len(points), strings.Join(points, " "))
}

func TestAnAnswerOfTheSchedulerThatWasLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.lose = 2
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	require.Equal(t, broker.OutcomeOK, s.finish(a, att).Outcome)
	require.Equal(t, 3, s.sched.submits)
	require.Equal(t, 1, s.sched.starts[string(att)])
}

func TestALaunchTheSchedulerRefusesForGoodEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.down = &broker.Error{Kind: broker.KindInvalid, Code: "no_such_partition", Message: "no"}
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	r := s.finish(a, att)
	require.Equal(t, broker.OutcomeLaunchFailed, r.Outcome)
	require.Equal(t, "no_such_partition", r.Code)
}

func TestTelemetryThatCanNeverTravelHoldsUpNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.tel.set(&broker.Error{Kind: broker.KindInvalid, Code: "event_invalid", Message: "no"})
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	a.Turn(t.Context())
	a.Turn(t.Context())
	require.Equal(t, broker.AttemptDone, s.report(a, att).State)
}

func TestAFaultIsTriedAgainEverMoreSlowly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sched.down = errAway
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	for range 600 { // ten minutes
		a.Turn(t.Context())
		s.clock.add(time.Second)
	}
	require.Less(t, s.sched.submits, 30)
	s.sched.down = nil
	require.Equal(t, broker.OutcomeOK, s.finish(a, att).Outcome)
}

func readAll(t *testing.T, rc io.ReadCloser) (string, error) {
	t.Helper()
	b, err := io.ReadAll(rc)
	require.NoError(t, rc.Close())
	return string(b), err
}
