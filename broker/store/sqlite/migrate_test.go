package sqlite_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

// fill puts rows into every table: jobs in many states, a release, events.
func fill(t *testing.T, s *sqlite.Store) storetest.Fixture {
	t.Helper()
	f := storetest.Fill(t, s, 1000)
	_, _ = f.Admit(t, 1)
	_, a := f.Admit(t, 1)
	f.ToReady(t, a.ID)
	_, b := f.Admit(t, 1)
	c := f.ToRunning(t, b.ID)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptSealing, Outputs: storetest.Sealed(b.ID)})
	_, d := f.Admit(t, 1)
	e := f.ToRunning(t, d.ID)
	f.Take(t, &e, storetest.Done(broker.OutcomeOK, 1))
	r := f.Admission(t, broker.VerdictDeny, 0)
	r.Idempotency = storetest.Key("k", "r")
	_, _, err := s.Admit(t.Context(), r)
	require.NoError(t, err)
	out, err := s.Outbox(t.Context(), 3)
	require.NoError(t, err)
	for _, o := range out {
		_, err := s.ApplyEvents(t.Context(), []broker.Event{o.Event})
		require.NoError(t, err)
	}
	f.Change(t, broker.ActAdjust, func(a *broker.Allocation) { a.MaxGPUs = 100 })
	log, _ := storetest.NewLog(t, s)
	_, err = log.Checkpoint(t.Context())
	require.NoError(t, err)
	return f
}

func TestMigrationsGoUpDownAndUpOnAFilledDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.db")
	s := open(t, path)
	fill(t, s)
	var before, after string
	schema := `SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name)`
	require.NoError(t, s.Get(t.Context(), schema, &before))
	require.NoError(t, s.Close())

	db, p, err := sqlite.Provider(t.Context(), path)
	require.NoError(t, err)
	_, err = p.DownTo(t.Context(), 0)
	require.NoError(t, err)
	var left int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_schema WHERE type IN ('table', 'trigger')
		AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version'`).Scan(&left))
	require.Zero(t, left)
	require.NoError(t, db.Close())

	s = open(t, path)
	require.NoError(t, s.Get(t.Context(), schema, &after))
	require.Equal(t, before, after)
	fill(t, s)
}

// Reservations that are open while a broker is updated keep their place.
func TestReservationsOutliveTheMigrationThatWeighsThem(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.db")
	s := open(t, path)
	f := fill(t, s)
	want := f.Grant(t)
	require.NoError(t, s.Close())
	db, p, err := sqlite.Provider(t.Context(), path)
	require.NoError(t, err)
	_, err = p.DownTo(t.Context(), 4)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s = open(t, path)
	f.Store = s
	got := f.Grant(t)
	require.Equal(t, want.OpenJobs, got.OpenJobs)
	require.Equal(t, want.Reserved, got.Reserved)
	var n int
	require.NoError(t, s.Get(t.Context(), `SELECT count(*) FROM reservation WHERE unweighted <> gpu_seconds OR weight <> 1000`, &n))
	require.Zero(t, n)
	_, a := f.Admit(t, 7)
	c := f.Claim(t, a.ID)
	f.Take(t, &c, storetest.Done(broker.OutcomeCancelled, 0))
	require.Equal(t, want.Reserved, f.Grant(t).Reserved)
}

func TestAFileOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.db")
	s := open(t, path)
	require.NoError(t, s.Write(t.Context(), func(w sqlite.Writing) error {
		_, err := w.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
		return err
	}))
	require.NoError(t, s.Close())
	_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	require.ErrorContains(t, err, "use a newer one")
}

// list finds the values of a CHECK (column IN (…)) in a table's text.
func list(t *testing.T, s *sqlite.Store, table, column string) []string {
	t.Helper()
	var text string
	require.NoError(t, s.Get(t.Context(), `SELECT sql FROM sqlite_schema WHERE name = '`+table+`'`, &text))
	m := regexp.MustCompile(`CHECK \(` + column + ` IN \(([^)]*)\)\)`).FindStringSubmatch(text)
	require.NotNil(t, m, "%s.%s has a CHECK list", table, column)
	return strings.Split(strings.ReplaceAll(m[1], "'", ""), ", ")
}

func TestTheSchemaRepeatsTheStateMachines(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	var jobs, attempts, outcomes, ended, over []string
	edges := map[string]string{}
	for _, x := range broker.JobStates() {
		jobs = append(jobs, string(x))
		if x.Terminal() {
			ended = append(ended, string(x))
		}
		for _, n := range x.Next() {
			edges["job_edge"] += string(x) + ">" + string(n) + "\n"
		}
	}
	for _, x := range broker.AttemptStates() {
		attempts = append(attempts, string(x))
		if x.Terminal() {
			over = append(over, string(x))
		}
		for _, n := range x.Next() {
			edges["attempt_edge"] += string(x) + ">" + string(n) + "\n"
		}
	}
	for _, x := range broker.Outcomes() {
		outcomes = append(outcomes, string(x))
	}
	require.Equal(t, jobs, list(t, s, "job", "state"))
	require.Equal(t, attempts, list(t, s, "attempt", "state"))
	require.Equal(t, outcomes, list(t, s, "attempt", "outcome"))
	for table, want := range edges {
		var got string
		require.NoError(t, s.Get(t.Context(), `SELECT group_concat(state || '>' || next, char(10)) FROM `+table, &got))
		require.ElementsMatch(t, strings.Split(strings.TrimSpace(want), "\n"), strings.Split(got, "\n"), table)
	}
	var all string
	require.NoError(t, s.Get(t.Context(), `SELECT group_concat(sql, char(10)) FROM sqlite_schema`, &all))
	require.Equal(t, 2, strings.Count(all, "IN ('"+strings.Join(ended, "', '")+"')"), "where a job has ended")
	require.Equal(t, 3, strings.Count(all, "IN ('"+strings.Join(over, "', '")+"')"), "where an attempt is over")
}

func TestTheDatabaseItselfRefusesWhatWouldBreakAPromise(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "valico.db"))
	f := fill(t, s)
	_, a := f.Admit(t, 1)
	c := f.Claim(t, a.ID)
	f.Take(t, &c, dispatch.Change{To: broker.AttemptClearing, Image: storetest.Image()})
	for name, q := range map[string]string{
		"P1: ready without receipt":        `UPDATE attempt SET state = 'ready' WHERE state = 'clearing'`,
		"P1: running without clearance":    `UPDATE attempt SET state = 'running', started_at = 1 WHERE state = 'packaging'`,
		"P1: a start without receipt":      `UPDATE attempt SET started_at = 1 WHERE state = 'packaging'`,
		"P1: another order":                `UPDATE attempt SET order_bytes = x'00' WHERE order_bytes IS NOT NULL`,
		"P1: born ready":                   `INSERT INTO attempt (id, tenant_id, project_id, job_id, number, state, reservation_id, version, created_at, updated_at) SELECT 'x', tenant_id, project_id, job_id, 9, 'ready', 'x', 1, 1, 1 FROM attempt LIMIT 1`,
		"P3: more than granted":            `UPDATE allocation SET reserved = granted + 1`,
		"P3: a grant below its use":        `UPDATE allocation SET granted = reserved + used - 1`,
		"P3: reserved while frozen":        `UPDATE allocation SET frozen = 1, reserved = reserved + 1`,
		"P3: more jobs than it takes":      `UPDATE allocation SET max_jobs = 1, open_jobs = open_jobs + 9`,
		"P3: more GPUs than it gives":      `UPDATE allocation SET max_gpus = 1, open_gpus = open_gpus + 9`,
		"P3: another weight":               `UPDATE reservation SET weight = 1 WHERE settled_at IS NULL`,
		"P3: less than nothing":            `UPDATE allocation SET reserved = -1`,
		"P3: settled twice":                `UPDATE reservation SET booked = 1 WHERE settled_at IS NOT NULL`,
		"P4: back from done":               `UPDATE attempt SET state = 'running', outcome = NULL, finished_at = NULL WHERE state = 'done'`,
		"P4: a second live attempt":        `INSERT INTO attempt (id, tenant_id, project_id, job_id, number, state, reservation_id, version, created_at, updated_at) SELECT 'x', tenant_id, project_id, job_id, 9, 'packaging', reservation_id || 'x', 1, 1, 1 FROM attempt WHERE state = 'packaging' LIMIT 1`,
		"a job over before its attempt":    `UPDATE job SET state = 'cancelled', finished_at = 1 WHERE state = 'active'`,
		"a job over without a time":        `UPDATE job SET state = 'cancelled' WHERE state = 'in_review' OR state = 'admitted'`,
		"a job back from the end":          `UPDATE job SET state = 'active', finished_at = NULL WHERE state = 'succeeded'`,
		"done without an outcome":          `UPDATE attempt SET state = 'done', finished_at = 1 WHERE state = 'packaging'`,
		"P7: a leaf changed":               `UPDATE ledger_row SET leaf = zeroblob(32)`,
		"P7: a leaf removed":               `DELETE FROM ledger_row WHERE idx = (SELECT max(idx) FROM ledger_row)`,
		"P7: a gap":                        `INSERT INTO ledger_row SELECT idx + 1000, tenant_id, project_id, permit_id, person_id, kind, at, seq + 1000, record, salt, document, leaf FROM ledger_row LIMIT 1`,
		"P7: a tree hash changed":          `UPDATE ledger_hash SET hash = zeroblob(32)`,
		"P7: a checkpoint removed":         `DELETE FROM ledger_checkpoint`,
		"P8: a decision changed":           `UPDATE decision SET verdict = 'allow'`,
		"P9: a mark falls":                 `UPDATE event_mark SET seq = seq - 1`,
		"a row of another tenant":          `UPDATE job SET tenant_id = 'x'`,
		"a clearance that is an admission": `UPDATE attempt SET clearance_id = (SELECT id FROM decision WHERE kind = 'admission' LIMIT 1) WHERE state = 'packaging'`,
	} {
		err := s.Write(t.Context(), func(w sqlite.Writing) error {
			_, err := w.Exec(q)
			return err
		})
		require.Error(t, err, name)
		require.Contains(t, []string{"invariant", "not_found", "already_exists"}, broker.CodeOf(err), "%s: %v", name, err)
	}
}
