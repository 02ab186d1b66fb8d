package slurm_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/slurm"
)

// daemon answers as a slurmrestd that serves some versions.
type daemon struct {
	mu     sync.Mutex
	serves []string
	calls  []string
	bodies []string
	answer string // to what is neither a ping nor the OpenAPI document
}

func (d *daemon) set(versions ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serves, d.calls, d.bodies = versions, nil, nil
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, _ := io.ReadAll(r.Body)
	d.calls, d.bodies = append(d.calls, r.Method+" "+r.URL.Path), append(d.bodies, string(b))
	if r.URL.Path == "/openapi/v3" {
		var paths []string
		for _, v := range d.serves {
			paths = append(paths, `"/slurm/`+v+`/ping/":{"get":{}}`, `"/slurm/`+v+`/jobs/":{}`, `"/slurmdb/`+v+`/jobs/":{}`)
		}
		_, _ = io.WriteString(w, `{"openapi":"3.1.0","paths":{`+strings.Join(paths, ",")+`},"components":{}}`)
		return
	}
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) < 4 || !slices.Contains(d.serves, parts[2]) {
		http.Error(w, "Unable find requested URL.", http.StatusNotFound)
		return
	}
	if parts[3] == "ping" {
		_, _ = io.WriteString(w, `{"pings":[{"pinged":"UP"}]}`)
		return
	}
	_, _ = io.WriteString(w, d.answer)
}

func offering(t *testing.T, pinned string, versions ...string) (*daemon, *slurm.Client) {
	t.Helper()
	d := &daemon{serves: versions}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	c, err := slurm.New(slurm.Config{BaseURL: s.URL, Version: pinned})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return d, c
}

func TestTheNewestVersionThatBothKnowIsSpoken(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		serves []string
		spoken string
	}{
		{[]string{"v0.0.40", "v0.0.41", "v0.0.42"}, "v0.0.42"},
		{[]string{"v0.0.42", "v0.0.43", "v0.0.44", "v0.0.45"}, "v0.0.45"},
		{[]string{"v0.0.45", "v0.0.46", "v0.0.47"}, "v0.0.45"},
		{[]string{"v0.0.39", "v0.0.40"}, "v0.0.40"},
	} {
		d, c := offering(t, "", x.serves...)
		require.Empty(t, c.Version())
		require.NoError(t, c.Ping(t.Context()))
		require.Equal(t, x.spoken, c.Version())
		d.set(x.serves...)
		require.NoError(t, c.Ping(t.Context()))
		require.Equal(t, []string{"GET /slurm/" + x.spoken + "/ping"}, d.calls, "it is agreed on once")
	}
}

func TestWithoutACommonVersionTheErrorNamesBothSides(t *testing.T) {
	t.Parallel()
	_, c := offering(t, "", "v0.0.38", "v0.0.39")
	_, err := c.Submit(t.Context(), request())
	e := failure(t, err)
	require.Equal(t, slurm.ClassVersion, e.Class())
	require.False(t, e.Unknown(), "nothing was submitted")
	require.ErrorContains(t, err, "slurmrestd offers v0.0.39, v0.0.38; this client speaks v0.0.45, v0.0.44, v0.0.43, v0.0.42, v0.0.41, v0.0.40")

	d, c := offering(t, "v0.0.41", "v0.0.42", "v0.0.43")
	err = c.Ping(t.Context())
	require.Equal(t, slurm.ClassVersion, failure(t, err).Class())
	require.ErrorContains(t, err, "slurmrestd offers v0.0.43, v0.0.42; this client speaks only v0.0.41, as configured")
	require.Equal(t, "v0.0.41", c.Version(), "what is configured stays")
	require.Equal(t, "GET /slurm/v0.0.41/ping", d.calls[0], "nothing else is tried")
}

func TestAfterAnUpgradeOfSlurmrestdANewVersionIsAgreedOn(t *testing.T) {
	t.Parallel()
	d, c := offering(t, "", "v0.0.40", "v0.0.41")
	d.answer = sample(t, "submit-gpu.json")
	_, err := c.Submit(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "v0.0.41", c.Version())
	d.set("v0.0.42", "v0.0.43")
	_, err = c.Submit(t.Context(), request())
	e := failure(t, err)
	require.Equal(t, slurm.ClassVersion, e.Class())
	require.Equal(t, 1, strings.Count(strings.Join(d.calls, "\n"), "/job/submit"), "one submission is one request at most")
	_, err = c.Submit(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "v0.0.43", c.Version())
}

func TestAnOutageDecidesNoVersion(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err := slurm.New(slurm.Config{BaseURL: gone.URL})
	require.NoError(t, err)
	require.Equal(t, slurm.ClassOutage, failure(t, c.Ping(t.Context())).Class())
	require.Empty(t, c.Version())

	a := &answers{status: 401, body: sample(t, "empty-token.txt")}
	c = serve(t, a, func(c *slurm.Config) { c.Version = "" })
	e := failure(t, c.Ping(t.Context()))
	require.Equal(t, slurm.ClassAuth, e.Class())
	require.Len(t, a.calls, 1, "who is not let in tries no other version")

	// slurmctld is away: slurmrestd serves the version all the same
	a = &answers{status: 500, body: `{"errors":[{"error_number":1800,"error":"Communication failure"}]}`}
	c = serve(t, a, func(c *slurm.Config) { c.Version = "" })
	require.Equal(t, slurm.ClassOutage, failure(t, c.Ping(t.Context())).Class())
	require.Equal(t, slurm.Versions()[0], c.Version())
}

func TestCancellationsSayWhatBecameOfThemInEveryVersion(t *testing.T) {
	t.Parallel()
	for _, v := range slurm.Versions() {
		d, c := offering(t, v, v)
		want, body := "DELETE /slurm/"+v+"/job/7", ""
		if v < "v0.0.42" {
			want, body = "DELETE /slurm/"+v+"/jobs", `{"jobs":["7"]}`
		}
		d.answer = sample(t, "cancel.json")
		require.NoError(t, c.Cancel(t.Context(), 7))
		require.Equal(t, want, d.calls[0])
		require.Equal(t, body, d.bodies[0])
		d.answer = sample(t, "cancel-unknown.json")
		require.Equal(t, slurm.ClassNotFound, failure(t, c.Cancel(t.Context(), 7)).Class(), v)
		d.answer = sample(t, "cancel-other-user.json")
		require.Equal(t, slurm.ClassForbidden, failure(t, c.Signal(t.Context(), 7, "USR1")).Class(), v)
	}
}

// TestEveryVersionsAnswersAreTheSameJob: all versions of one release answered
// about one and the same job.
func TestEveryVersionsAnswersAreTheSameJob(t *testing.T) {
	t.Parallel()
	for release, versions := range map[string][]string{
		"24.11.5": {"v0.0.40", "v0.0.41", "v0.0.42"}, "26.05.5": {"v0.0.42", "v0.0.43", "v0.0.44", "v0.0.45"},
	} {
		var first slurm.Job
		var firstDB slurm.DBJob
		for i, v := range versions {
			d, c := offering(t, v, v)
			d.answer = sample(t, "answers/"+release+"-"+v+"-job.json")
			id := slurm.JobID(map[string]uint32{"24.11.5": 90, "26.05.5": 38}[release])
			j, err := c.Job(t.Context(), id)
			require.NoError(t, err)
			// since v0.0.43 it is the pattern; the expanded name has a field of its own
			j.Stdout = strings.ReplaceAll(j.Stdout, "%j", id.String())
			d.answer = sample(t, "answers/"+release+"-"+v+"-db-job.json")
			rs, err := c.DBJob(t.Context(), id)
			require.NoError(t, err)
			require.Len(t, rs, 1)
			if i == 0 {
				first, firstDB = j, rs[0]
				require.NotEmpty(t, j.Name)
				require.Equal(t, slurm.RoleFinal, j.States[0].Role())
				require.Positive(t, j.Requested.GPUs("h100"))
				require.Positive(t, rs[0].Elapsed)
				require.Equal(t, j.Requested.GPUs(""), rs[0].Allocated.GPUs(""))
			}
			require.Equal(t, first, j, "%s %s", release, v)
			require.Equal(t, firstDB, rs[0], "%s %s", release, v)
		}
	}
}

func TestTheTimeOfASearchIsWrittenAsTheVersionReadsIt(t *testing.T) {
	t.Parallel()
	for _, v := range slurm.Versions() {
		a := &answers{status: 200, body: `{"jobs":[]}`}
		c := serve(t, a, func(c *slurm.Config) { c.Version = v })
		_, err := c.DBJobs(t.Context(), slurm.DBQuery{Users: []string{"u"}, Since: time.Unix(1795500000, 0)})
		require.NoError(t, err)
		want := "1795500000"
		if v < "v0.0.42" {
			want = "uts1795500000" // a number alone: 422
		}
		require.Equal(t, want, a.last.URL.Query().Get("start_time"), v)
	}
}

func TestARequestBeyondTheBoundIsNotSent(t *testing.T) {
	t.Parallel()
	a := &answers{status: 200, body: sample(t, "submit-gpu.json")}
	c := serve(t, a, func(c *slurm.Config) { c.MaxRequest = 2000 })
	r := request()
	_, err := c.Submit(t.Context(), r)
	require.NoError(t, err)
	r.Script += strings.Repeat("#", 2000)
	_, err = c.Submit(t.Context(), r)
	e := failure(t, err)
	require.Equal(t, slurm.ClassRefused, e.Class())
	require.False(t, e.Unknown())
	require.ErrorContains(t, err, "at most 2000 are sent")
	require.Len(t, a.calls, 1)
}

func TestABadTokenBeforeTheDatabaseIsNoOutage(t *testing.T) {
	t.Parallel()
	// slurmrestd says 7000, as when slurmdbd is away; slurmctld tells.
	for class, probe := range map[slurm.Class]struct {
		status int
		body   string
	}{
		slurm.ClassAuth:   {511, sample(t, "bad-token-jobs.json")},
		slurm.ClassOutage: {404, sample(t, "job-unknown.json")},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/slurmdb/") {
				w.WriteHeader(http.StatusBadGateway)
				_, _ = io.WriteString(w, sample(t, "bad-token-db.json"))
				return
			}
			w.WriteHeader(probe.status)
			_, _ = io.WriteString(w, probe.body)
		}))
		t.Cleanup(s.Close)
		c, err := slurm.New(slurm.Config{BaseURL: s.URL, Version: "v0.0.42", Token: func(context.Context) (string, error) { return "t", nil }})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		_, err = c.DBJob(t.Context(), 7)
		require.Equal(t, class, failure(t, err).Class())
	}
}
