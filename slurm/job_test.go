package slurm_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/slurm"
)

// jobOf reads the one job of a stored answer.
func jobOf(t *testing.T, file string) slurm.Job {
	t.Helper()
	c := serve(t, &answers{status: 200, body: sample(t, file)})
	all, err := c.Jobs(t.Context(), func(*slurm.Job) bool { return true })
	require.NoError(t, err, file)
	require.Len(t, all, 1)
	one, err := c.Job(t.Context(), all[0].ID)
	require.NoError(t, err, file)
	require.Equal(t, all[0], one)
	return one
}

func TestJobsAreReadAsTheyWereAnswered(t *testing.T) {
	t.Parallel()
	run := jobOf(t, "job-running.json")
	require.Equal(t, []slurm.JobState{slurm.StateRunning}, run.States)
	require.Equal(t, int64(8), run.Requested.GPUs(""))
	require.Equal(t, int64(8), run.Requested.GPUs("h100"))
	require.Zero(t, run.Requested.GPUs("a100"))
	require.Equal(t, int64(8), run.Allocated.GPUs("h100"))
	require.Equal(t, "n[1-2]", run.Nodes)

	require.Equal(t, []slurm.JobState{slurm.StateCancelled, slurm.StateCompleting}, jobOf(t, "job-cancelling.json").States)

	exit3 := jobOf(t, "job-exit3.json")
	n, ok := exit3.Exit.Code.Value()
	require.True(t, ok)
	require.Equal(t, int64(3), n)

	sig := jobOf(t, "job-sig9.json")
	n, ok = sig.Exit.Signal.Value()
	require.True(t, ok)
	require.Equal(t, int64(9), n)

	require.True(t, jobOf(t, "job-held.json").Hold)
	require.Empty(t, jobOf(t, "job-held.json").Allocated)
	require.Equal(t, "launch failed requeued held", jobOf(t, "cont-ocimissing-job.json").Description)
	require.Equal(t, "AssocGrpGRESMinutes", jobOf(t, "job-overbudget.json").Reason)
}

func TestStatesOfArrayAndHeterogeneousJobsAreLeftOut(t *testing.T) {
	t.Parallel()
	states, err := serve(t, &answers{status: 200, body: sample(t, "jobs-state.json")}).JobStates(t.Context())
	require.NoError(t, err)
	require.Len(t, states, 6, "of eight, two are parts of a heterogeneous job")
	require.Equal(t, slurm.StateEntry{ID: 1, States: []slurm.JobState{slurm.StateCompleted}}, states[0])
}

func TestAListThatWasCutOffIsAnErrorAndNotAShorterList(t *testing.T) {
	t.Parallel()
	whole := strings.TrimSpace(sample(t, "jobs-state.json"))
	for n := range len(whole) {
		_, err := serve1(t, whole[:n]).JobStates(t.Context())
		require.Error(t, err, "%s", whole[:n])
	}
}

// serve1 is serve with one server for each call, closed at once after it.
func serve1(t *testing.T, body string) *slurm.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	t.Cleanup(s.Close)
	c, err := slurm.New(slurm.Config{BaseURL: s.URL})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestNamesThatAreNotUTF8DoNotHideTheList(t *testing.T) {
	t.Parallel()
	c := serve1(t, "{\"jobs\":[{\"job_id\":1,\"name\":\"\xff\",\"job_state\":[\"RUNNING\"]},{\"job_id\":2,\"name\":\"b\",\"job_state\":\"PENDING\"}]}")
	all, err := c.Jobs(t.Context(), func(*slurm.Job) bool { return true })
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []slurm.JobState{slurm.StatePending}, all[1].States, "older versions answer with a string")
}

func TestEveryIncarnationOfARequeuedJobIsReturned(t *testing.T) {
	t.Parallel()
	js, err := serve(t, &answers{status: 200, body: sample(t, "db-job-user-requeued.json")}).DBJob(t.Context(), 89)
	require.NoError(t, err)
	require.Len(t, js, 3)
	require.Equal(t, 30*time.Second, js[0].Elapsed)
	require.Equal(t, int64(4), js[0].Allocated.GPUs(""))
	require.Equal(t, []slurm.JobState{slurm.StatePending, slurm.StateRequeued}, js[1].States)
	require.NotContains(t, js[1].Allocated, "energy", "-2 means unknown")

	none, err := serve(t, &answers{status: 200, body: sample(t, "db-job-unknown.json")}).DBJob(t.Context(), 999999)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestADatabaseAnswerIsCheckedAgainstItsQuery(t *testing.T) {
	t.Parallel()
	a := &answers{status: 200, body: sample(t, "db-job-exit3.json")}
	c := serve(t, a)
	js, err := c.DBJobs(t.Context(), slurm.DBQuery{Users: []string{"nobody"}, Names: []string{"n"}, Since: time.Unix(5, 0)})
	require.NoError(t, err)
	require.Empty(t, js)
	require.Equal(t, "nobody", a.last.URL.Query().Get("users"))
	require.Equal(t, "n", a.last.URL.Query().Get("job_name"))
	require.Equal(t, "5", a.last.URL.Query().Get("start_time"))
}

func TestJobIDsAreDigits(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "0", "00", "01", "-1", "+1", " 1", "1 ", "null", "1_2", "1+0", "4294967296", "1.0", "../x"} {
		_, err := slurm.ParseJobID(s)
		require.Error(t, err, "%q", s)
	}
	id, err := slurm.ParseJobID("4294967295")
	require.NoError(t, err)
	require.Equal(t, "4294967295", id.String())
}

// FuzzAnswers: no answer makes the client panic, accept a submission without a
// job id above zero and HTTP 200, or report a failed cancellation as done.
func FuzzAnswers(f *testing.F) {
	for _, name := range []string{"submit-gpu.json", "hold.json", "type-error.json", "job-running.json", "cancel-again.json", "jobs-state.json", "db-job-user-requeued.json", "malformed.txt"} {
		f.Add(200, []byte(sample(f, name)))
	}
	f.Add(500, []byte(sample(f, "bad-account.json")))
	var status int
	var body []byte
	rt := roundTrip(func() (int, []byte) { return status, body })
	s := httptest.NewServer(rt)
	f.Cleanup(s.Close)
	c, err := slurm.New(slurm.Config{BaseURL: s.URL, Version: "v0.0.42", MaxBody: 1 << 16, MaxList: 1 << 16, Timeout: 5 * time.Second})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, st int, b []byte) {
		if st < 200 || st > 599 || st == http.StatusNoContent || st == http.StatusNotModified {
			st = 200
		}
		status, body = st, b
		sub, err := c.Submit(t.Context(), request())
		if err == nil && (st != 200 || sub.ID == 0) {
			t.Fatalf("accepted %d %q", st, b)
		}
		if err := c.Cancel(t.Context(), 1); err == nil && st != 200 {
			t.Fatalf("cancelled with %d", st)
		}
		if j, err := c.Job(t.Context(), 1); err == nil && j.ID != 1 {
			t.Fatalf("another job: %v", j.ID)
		}
		_, _ = c.JobStates(t.Context())
		_, _ = c.DBJob(t.Context(), 1)
		_ = c.Ping(t.Context())
	})
}

type roundTrip func() (int, []byte)

func (r roundTrip) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	st, b := r()
	w.WriteHeader(st)
	_, _ = w.Write(b)
}
