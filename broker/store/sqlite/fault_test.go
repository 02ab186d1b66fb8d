package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

// footprint is what a file holds, table by table: rows and the sums that a write
// moves.
func footprint(t *testing.T, s *sqlite.Store) string {
	t.Helper()
	var out strings.Builder
	for _, table := range []string{
		"tenant", "project", "person", "token", "site", "allocation", "ledger_permit", "ledger_row", "ledger_hash",
		"ledger_checkpoint", "permit", "permit_use", "job", "reservation", "attempt", "decision", "idempotency",
		"manifest", "release", "outbox", "event", "event_mark",
	} {
		var n int
		require.NoError(t, s.Get(t.Context(), `SELECT count(*) FROM `+table, &n))
		fmt.Fprintf(&out, "%s %d\n", table, n)
	}
	var sums string
	require.NoError(t, s.Get(t.Context(), `SELECT (SELECT group_concat(reserved || ' ' || used) FROM allocation)
		|| (SELECT coalesce(group_concat(reserved || ' ' || used), '') FROM permit_use)
		|| (SELECT coalesce(group_concat(state || version), '') FROM job)
		|| (SELECT coalesce(group_concat(state || version || waiting_code || waiting), '') FROM attempt)
		|| (SELECT coalesce(group_concat(stage || token), '') FROM work) || (SELECT coalesce(group_concat(cost), '') FROM share)
		|| (SELECT coalesce(group_concat(seq), '') FROM ledger_permit)`, &sums))
	return out.String() + sums
}

// big makes a write need many pages, so that a full disk meets it at each of
// its statements.
func big(n int) []byte { return []byte(strings.Repeat("x", n)) }

// TestADiskThatFillsAtAnyStatementLeavesNothing runs each kind of write on a
// disk with room for 0, 1, 2, … pages more until it passes: before that it
// answers unavailable and leaves nothing.
func TestADiskThatFillsAtAnyStatementLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, storetest.Fixture, *sqlite.Store) func() error{
		"admit": func(t *testing.T, f storetest.Fixture, s *sqlite.Store) func() error {
			t.Helper()
			r := f.Admission(t, broker.VerdictAllow, 5)
			r.Decision.Input, r.Decision.Document = big(30_000), big(30_000)
			r.Entry.Document = r.Decision.Document
			r.Idempotency = storetest.Key("k", "r")
			return func() error { _, _, err := s.Admit(context.WithoutCancel(t.Context()), r); return err }
		},
		"clear deny": func(t *testing.T, f storetest.Fixture, s *sqlite.Store) func() error {
			t.Helper()
			_, a := f.Admit(t, 5)
			c := f.Claim(t, a.ID)
			f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: storetest.Image()})
			r := f.Clearance(c, broker.VerdictDeny)
			r.Decision.Input, r.Decision.Document = big(30_000), big(30_000)
			r.Entry.Document = r.Decision.Document
			return func() error { _, err := s.Clear(context.WithoutCancel(t.Context()), r); return err }
		},
		"advance to ready": func(t *testing.T, f storetest.Fixture, s *sqlite.Store) func() error {
			t.Helper()
			_, a := f.Admit(t, 5)
			c := f.Claim(t, a.ID)
			f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: storetest.Image()})
			d, err := s.Clear(t.Context(), f.Clearance(c, broker.VerdictAllow))
			require.NoError(t, err)
			ch := storetest.Ready(d)
			ch.Receipt, ch.OrderBytes = big(30_000), big(30_000)
			return func() error { _, err := s.Advance(context.WithoutCancel(t.Context()), c, ch); return err }
		},
		"advance to done": func(t *testing.T, f storetest.Fixture, s *sqlite.Store) func() error {
			t.Helper()
			_, a := f.Admit(t, 5)
			c := f.ToRunning(t, a.ID)
			ch := storetest.Done(broker.OutcomeOK, 3)
			ch.Outputs = storetest.Sealed(a.ID)
			ch.Outputs.Bytes = big(30_000)
			ch.Outputs.Digest = broker.DigestOf(ch.Outputs.Bytes)
			return func() error { _, err := s.Advance(context.WithoutCancel(t.Context()), c, ch); return err }
		},
		"events": func(t *testing.T, f storetest.Fixture, s *sqlite.Store) func() error {
			t.Helper()
			job, a := f.Admit(t, 5)
			var es []broker.Event
			for i := range 20 {
				es = append(es, broker.Event{
					Tenant: f.Tenant, Job: job.ID, Attempt: a.ID, Site: f.Site.ID, Source: "site", Seq: uint64(i) + 1,
					Kind: broker.EventLog, Name: "stdout", Text: string(big(2000)),
				})
			}
			return func() error { _, err := s.ApplyEvents(context.WithoutCancel(t.Context()), es); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, filepath.Join(t.TempDir(), "valico.db"))
			f := storetest.Fill(t, s, 100)
			write := prepare(t, f, s)
			before := footprint(t, s)
			full := 0
			for room := int64(0); ; room++ {
				require.Less(t, room, int64(200))
				require.NoError(t, s.Room(t.Context(), room))
				err := write()
				if err == nil {
					break
				}
				full++
				require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
				require.Equal(t, before, footprint(t, s), "room for %d pages", room)
			}
			require.Greater(t, full, 5)
			require.NotEqual(t, before, footprint(t, s))
			t.Logf("refused at %d sizes", full)
		})
	}
}

func TestAWriteThatFillsTheDiskDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	f := storetest.Fill(t, s, 1000)
	require.NoError(t, s.Room(t.Context(), 60))
	hold, held := make(chan struct{}), make(chan struct{})
	begun := sync.OnceFunc(func() { close(held) }) // it runs again when its transaction breaks
	var g errgroup.Group
	g.Go(func() error {
		return s.Write(t.Context(), func(sqlite.Writing) error {
			begun()
			<-hold
			return nil
		})
	})
	<-held // what follows waits and then shares its transaction
	errs := make(chan error, 8)
	var started sync.WaitGroup
	for i := range 8 {
		r := f.Admission(t, broker.VerdictAllow, 1)
		if i == 4 {
			r.Decision.Input = big(1 << 20)
		}
		started.Add(1)
		g.Go(func() error {
			started.Done()
			_, _, err := s.Admit(t.Context(), r)
			errs <- err
			return nil
		})
	}
	started.Wait()
	close(hold)
	require.NoError(t, g.Wait())
	failed := 0
	for range 8 {
		if err := <-errs; err != nil {
			failed++
			require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
		}
	}
	require.Equal(t, 1, failed)
	require.EqualValues(t, 7, f.Grant(t).Reserved)
}

// TestAFileCutOffAtAnyMomentOpensConsistent copies the file as it lies on disk
// in the middle of transactions, as a kill or a power cut leaves it, and opens
// the copies.
func TestAFileCutOffAtAnyMomentOpensConsistent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "valico.db"))
	f := storetest.Fill(t, s, 1_000_000)
	var mu sync.Mutex
	answered := map[broker.JobID]bool{}
	var g errgroup.Group
	for range 8 {
		var rs []admission.AdmitRecord
		for range 20 {
			rs = append(rs, f.Admission(t, broker.VerdictAllow, 3))
		}
		g.Go(func() error {
			for _, r := range rs {
				job, _, err := s.Admit(t.Context(), r)
				if err != nil {
					return err
				}
				mu.Lock()
				answered[job.ID] = true
				mu.Unlock()
			}
			return nil
		})
	}
	type cut struct {
		path string
		must []broker.JobID
	}
	var cuts []cut
	for i := range 10 {
		c := cut{path: filepath.Join(dir, fmt.Sprintf("cut%d.db", i))}
		require.NoError(t, s.Write(t.Context(), func(sqlite.Writing) error { // amid its batch
			mu.Lock()
			defer mu.Unlock()
			for id := range answered {
				c.must = append(c.must, id)
			}
			return errors.Join(copyFile(filepath.Join(dir, "valico.db"), c.path), copyFile(filepath.Join(dir, "valico.db-wal"), c.path+"-wal"))
		}))
		cuts = append(cuts, c)
	}
	require.NoError(t, g.Wait())
	for _, c := range cuts {
		consistent(t, open(t, c.path), f, c.must)
	}
	consistent(t, s, f, nil)
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// consistent checks what holds at every moment of a file's life.
func consistent(t *testing.T, s *sqlite.Store, f storetest.Fixture, must []broker.JobID) {
	t.Helper()
	for what, q := range map[string]string{
		"the file is sound":                 `SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'`,
		"references hold":                   `SELECT count(*) FROM pragma_foreign_key_check`,
		"open reservations are the grant's": `SELECT (SELECT coalesce(sum(gpu_seconds), 0) FROM reservation WHERE settled_at IS NULL) <> (SELECT sum(reserved) FROM allocation)`,
		"bookings are the grant's":          `SELECT (SELECT coalesce(sum(booked), 0) FROM reservation) <> (SELECT sum(used) FROM allocation)`,
		"and the permit's":                  `SELECT (SELECT sum(reserved) FROM allocation) <> (SELECT coalesce(sum(reserved), 0) FROM permit_use)`,
		"every decision has its leaf":       `SELECT (SELECT count(*) FROM decision) <> (SELECT count(*) FROM ledger_row)`,
		"every job has its decision":        `SELECT count(*) FROM job WHERE id NOT IN (SELECT job_id FROM decision)`,
		"every job has told its state":      `SELECT count(*) FROM job WHERE event_seq <> (SELECT count(*) FROM outbox WHERE job_id = job.id AND attempt_id = '')`,
	} {
		var bad int
		require.NoError(t, s.Get(t.Context(), q, &bad))
		require.Zero(t, bad, what)
	}
	for _, id := range must {
		_, err := s.Job(t.Context(), f.Project, id)
		require.NoError(t, err, "what was answered is there")
	}
	log, pinned := storetest.NewLog(t, s)
	cp, err := log.Checkpoint(t.Context())
	require.NoError(t, err)
	_, err = receipt.VerifyLog(receipt.LogInput{Checkpoint: cp, Verifiers: pinned, Leaves: func(yield func(receipt.Hash, error) bool) {
		hs, err := s.LedgerLeaves(t.Context(), 0, 10_000)
		for _, h := range hs {
			if !yield(h, err) {
				return
			}
		}
	}})
	require.NoError(t, err)
	f.Store = s
	f.Admit(t, 1) // and it goes on
}

func TestARecordThatCannotBeWrittenAnswersUnavailable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.db")
	s := open(t, path)
	f := storetest.Fill(t, s, 100)
	job, a := f.Admit(t, 1)
	c := f.Claim(t, a.ID)
	before := footprint(t, s)
	require.NoError(t, s.Write(t.Context(), func(w sqlite.Writing) error {
		_, err := w.Exec(`PRAGMA query_only = 1`) // until the file is opened again
		return err
	}))
	log, _ := storetest.NewLog(t, s)
	for name, write := range map[string]func() error{
		"admit": func() error { _, _, err := s.Admit(t.Context(), f.Admission(t, broker.VerdictDeny, 0)); return err },
		"advance": func() error {
			_, err := s.Advance(t.Context(), c, dispatch.Change{To: broker.AttemptClearing})
			return err
		},
		"cancel":     func() error { return s.RequestCancel(t.Context(), f.Project, job.ID, time.Now()) },
		"checkpoint": func() error { _, err := log.Checkpoint(t.Context()); return err },
		"receipt":    func() error { _, err := log.Receipt(t.Context(), 0); return err },
	} {
		require.Equal(t, broker.KindUnavailable, broker.KindOf(write()), name)
	}
	require.Equal(t, before, footprint(t, s))
	require.NoError(t, s.Close())
	log, _ = storetest.NewLog(t, open(t, path))
	_, err := log.Receipt(t.Context(), 0)
	require.NoError(t, err)
}

func TestADamagedJobHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	f := storetest.Fill(t, s, 100)
	bad, _ := f.Admit(t, 1)
	_, good := f.Admit(t, 1)
	require.NoError(t, s.Write(t.Context(), func(w sqlite.Writing) error {
		_, err := w.Exec(`UPDATE job SET spec = cast(replace(spec, 'train', 'drain') AS BLOB) WHERE id = ?`, bad.ID)
		return err
	}))
	c := f.Claim(t, good.ID)
	require.Equal(t, good.ID, c.Attempt.ID)
	_, err := s.Job(t.Context(), f.Project, bad.ID)
	require.Equal(t, "record_damaged", broker.CodeOf(err), "%v", err)
	require.Equal(t, broker.KindInternal, broker.KindOf(err))
}

// TestTheHotQueriesUseTheirIndexes asks SQLite how it would run them.
func TestTheHotQueriesUseTheirIndexes(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	for q, index := range map[string]string{
		sqlite.DueQuery:   "work_due",
		sqlite.AheadQuery: "work_turn (site_id=? AND project_id=?)",
		`SELECT id FROM job j WHERE j.project_id = 'x' AND (j.created_at, j.id) < (1, 'x') ORDER BY j.created_at DESC, j.id DESC LIMIT 2`: "job_newest",
		`SELECT cursor FROM event WHERE job_id = 'x' AND cursor > 1 AND tenant_id = 'x' ORDER BY cursor LIMIT 9`:                          "event_job",
	} {
		var plan string
		require.NoError(t, s.Write(t.Context(), func(w sqlite.Writing) error {
			var id, parent, unused int
			return w.Get(`EXPLAIN QUERY PLAN `+strings.NewReplacer("?1", "'[]'", "?2", "2", "?3", "3", "?4", "4").Replace(q), &id, &parent, &unused, &plan)
		}))
		require.Contains(t, plan, index)
	}
}

func TestOnlyTheOwnerMayReadTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.db")
	s := open(t, path)
	storetest.Fill(t, s, 1)
	for _, p := range []string{path, path + "-wal"} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), p)
	}
}
