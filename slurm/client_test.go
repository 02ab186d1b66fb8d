package slurm_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/slurm"
)

// answers serves one answer to everything and keeps the last request.
type answers struct {
	status int
	body   string
	last   *http.Request
	sent   []byte
	calls  []string
	cancel string // answer to DELETE, when another
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.sent, _ = io.ReadAll(r.Body)
	a.last = r
	a.calls = append(a.calls, r.Method+" "+r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodDelete && a.cancel != "" {
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, a.cancel)
		return
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func serve(t *testing.T, a *answers, change ...func(*slurm.Config)) *slurm.Client {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	cfg := slurm.Config{BaseURL: s.URL, Version: "v0.0.42", Timeout: 10 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	c, err := slurm.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func sample(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return string(b)
}

func request() slurm.Request {
	return slurm.Request{
		Name: "a1", Script: "#!/bin/sh\nexec /bin/true\n", Env: []string{"PATH=/bin"}, WorkDir: "/tmp", Comment: "c",
		Nodes: 2, Tasks: 2, CPUs: 4, MemoryMiB: 100, GRES: "gres/gpu:h100:4", TimeLimit: 61 * time.Second, Dependency: "singleton",
	}
}

func TestASubmissionIsSentAsSlurmUnderstandsIt(t *testing.T) {
	t.Parallel()
	a := &answers{status: 200, body: sample(t, "submit-gpu.json")}
	c := serve(t, a, func(c *slurm.Config) {
		c.Token, c.User = func(context.Context) (string, error) { return "secret", nil }, "someone"
	})
	s, err := c.Submit(t.Context(), request())
	require.NoError(t, err)
	require.NotZero(t, s.ID)
	require.Equal(t, int64(len(a.sent)), a.last.ContentLength, "a chunked body is answered with 406")
	require.Empty(t, a.last.TransferEncoding)
	require.Equal(t, "application/json", a.last.Header.Get("Content-Type"))
	require.Equal(t, "secret", a.last.Header.Get("X-Slurm-User-Token"))
	require.Equal(t, "someone", a.last.Header.Get("X-Slurm-User-Name"))
	require.JSONEq(t, `{"job":{"name":"a1","script":"#!/bin/sh\nexec /bin/true\n","environment":["PATH=/bin"],
		"current_working_directory":"/tmp","comment":"c","dependency":"singleton","nodes":"2","tasks":2,"cpus_per_task":4,
		"memory_per_node":{"set":true,"number":100},"tres_per_node":"gres/gpu:h100:4","time_limit":{"set":true,"number":2},
		"requeue":false}}`, string(a.sent), "the limit is rounded up to minutes, and requeue is always said")
}

func TestASubmissionThatSlurmWouldMistakeIsNotSent(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*slurm.Request){
		"no interpreter": func(r *slurm.Request) { r.Script = "true" },
		"no environment": func(r *slurm.Request) { r.Env = nil },
		"bad variable":   func(r *slurm.Request) { r.Env = []string{"PATH"} },
		"relative":       func(r *slurm.Request) { r.WorkDir = "tmp" },
		"bare GPU":       func(r *slurm.Request) { r.GRES = "gpu:h100:4" },
		"below zero":     func(r *slurm.Request) { r.Nodes = -1 },
	} {
		a := &answers{status: 200, body: "{}"}
		r := request()
		change(&r)
		_, err := serve(t, a).Submit(t.Context(), r)
		e := failure(t, err)
		require.Equal(t, slurm.ClassRefused, e.Class(), name)
		require.False(t, e.Unknown(), name)
		require.Empty(t, a.calls, name)
	}
}

func failure(t *testing.T, err error) *slurm.Error {
	t.Helper()
	var e *slurm.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestOnlyHTTP200WithAJobIDIsASubmission(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file      string
		status    int
		class     slurm.Class
		number    int
		unknown   bool
		cancelled bool
	}{
		{file: "submit-gpu.json", status: 200},
		{file: "hold.json", status: 200},
		{file: "time-over-partition.json", status: 200},
		{file: "type-error.json", status: 200, class: slurm.ClassRefused},
		{file: "unknown-field.json", status: 200, class: slurm.ClassRefused, cancelled: true},
		{file: "gpus-per-node.json", status: 200, class: slurm.ClassRefused, cancelled: true},
		{file: "bad-account.json", status: 500, class: slurm.ClassRefused, number: 2045},
		{file: "too-many-gpus.json", status: 500, class: slurm.ClassRefused, number: 2014},
		{file: "env-empty-array.json", status: 500, class: slurm.ClassRefused, number: 2019},
		{file: "no-script.json", status: 422, class: slurm.ClassRefused, number: 9000},
		{file: "bad-token-submit.json", status: 511, class: slurm.ClassAuth, number: 1007},
		{file: "empty-token.txt", status: 401, class: slurm.ClassAuth},
		{file: "malformed.txt", status: 400, class: slurm.ClassRefused},
		{file: "path-unknown.txt", status: 404, class: slurm.ClassVersion, unknown: true},
		{file: "submit-gpu.json", status: 202, class: slurm.ClassProtocol, unknown: true},
	} {
		a := &answers{status: c.status, body: sample(t, c.file), cancel: sample(t, "cancel.json")}
		s, err := serve(t, a).Submit(t.Context(), request())
		if c.class == "" {
			require.NoError(t, err, c.file)
			require.NotZero(t, s.ID, c.file)
			continue
		}
		e := failure(t, err)
		require.Equal(t, c.class, e.Class(), "%s: %v", c.file, err)
		require.Equal(t, c.number, e.Number, c.file)
		require.Equal(t, c.unknown, e.Unknown(), c.file)
		require.Zero(t, s.ID, c.file)
		require.Equal(t, c.cancelled, len(a.calls) == 2 && strings.HasPrefix(a.calls[1], "DELETE "), "%s: %v", c.file, a.calls)
	}
}

func TestAJobThatCannotBeCancelledAfterADroppedFieldIsNotForgotten(t *testing.T) {
	t.Parallel()
	a := &answers{status: 200, body: sample(t, "gpus-per-node.json"), cancel: sample(t, "cancel-other-user.json")}
	_, err := serve(t, a).Submit(t.Context(), request())
	e := failure(t, err)
	require.True(t, e.Unknown())
	require.NotZero(t, e.Job)
}

func TestAHeldSubmissionKeepsItsWarnings(t *testing.T) {
	t.Parallel()
	s, err := serve(t, &answers{status: 200, body: sample(t, "hold.json")}).Submit(t.Context(), request())
	require.NoError(t, err)
	require.Len(t, s.Warnings, 2)
}

func TestACancellationIsJudgedByItsStatusArray(t *testing.T) {
	t.Parallel()
	for file, class := range map[string]slurm.Class{
		"cancel.json": "", "cancel-other-user.json": slurm.ClassForbidden,
		"cancel-unknown.json": slurm.ClassNotFound, "cancel-again.json": slurm.ClassFinished,
	} {
		err := serve(t, &answers{status: 200, body: sample(t, file)}).Cancel(t.Context(), 78)
		if class == "" {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, class, failure(t, err).Class(), file)
	}
}

func TestFailuresOfReadingAreToldApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		class  slurm.Class
	}{
		{404, sample(t, "job-unknown.json"), slurm.ClassNotFound},
		{511, sample(t, "bad-token-jobs.json"), slurm.ClassAuth},
		{502, sample(t, "bad-token-db.json"), slurm.ClassOutage},
		{401, sample(t, "empty-token.txt"), slurm.ClassAuth},
		{504, `{"errors":[{"error_number":5004,"error":"Socket timed out on send/recv operation"}]}`, slurm.ClassOutage},
		{500, `{"errors":[{"error_number":1800,"error":"Communication failure"}]}`, slurm.ClassOutage},
		{422, sample(t, "job-nonnumeric.json"), slurm.ClassRefused},
		{503, "", slurm.ClassOutage},
		{500, "", slurm.ClassProtocol},
		{302, "", slurm.ClassProtocol},
		{200, "", slurm.ClassProtocol},
		{200, `{"jobs":[]}`, slurm.ClassProtocol},
		{200, `{"jobs":[{"job_id":"1"}]}`, slurm.ClassProtocol},
		{200, `{"jobs":[],"jobs":[]}`, slurm.ClassProtocol},
		{200, `{"jobs":[{"job_id":1,"name":7}]}`, slurm.ClassProtocol},
	} {
		_, err := serve(t, &answers{status: c.status, body: c.body}).Job(t.Context(), 1)
		require.Equal(t, c.class, failure(t, err).Class(), "%d %.60s", c.status, c.body)
	}
}

func TestAnAnswerBeyondTheBoundIsNotRead(t *testing.T) {
	t.Parallel()
	body := sample(t, "job-running.json")
	for _, max := range []int64{1, 100, int64(len(body)) - 1} {
		_, err := serve(t, &answers{status: 200, body: body}, func(c *slurm.Config) { c.MaxBody = max }).Job(t.Context(), 9)
		require.ErrorContains(t, err, "larger than the bound")
	}
}

func TestNoAnswerIsAnOutageAndOnlyASentRequestIsUnknown(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err := slurm.New(slurm.Config{BaseURL: gone.URL, Version: "v0.0.42"})
	require.NoError(t, err)
	_, err = c.Submit(t.Context(), request())
	e := failure(t, err)
	require.Equal(t, slurm.ClassOutage, e.Class())
	require.False(t, e.Unknown(), "nothing was sent")

	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(cut.Close)
	c, err = slurm.New(slurm.Config{BaseURL: cut.URL, Version: "v0.0.42"})
	require.NoError(t, err)
	_, err = c.Submit(t.Context(), request())
	e = failure(t, err)
	require.Equal(t, slurm.ClassOutage, e.Class())
	require.True(t, e.Unknown(), "the answer was lost")
}

func TestATokenThatCannotBeHadIsNotAnOutage(t *testing.T) {
	t.Parallel()
	a := &answers{status: 200}
	c := serve(t, a, func(c *slurm.Config) {
		c.Token = func(context.Context) (string, error) { return "", errors.New("expired") }
	})
	e := failure(t, c.Ping(t.Context()))
	require.Equal(t, slurm.ClassAuth, e.Class())
	require.Empty(t, a.calls)
}

func TestATokenThatIsNotAcceptedIsSaid(t *testing.T) {
	t.Parallel()
	var refused []string
	token := 0
	a := &answers{status: 401}
	c := serve(t, a, func(c *slurm.Config) {
		c.Token = func(context.Context) (string, error) { token++; return strconv.Itoa(token), nil }
		c.Refused = func(token string) { refused = append(refused, token) }
	})
	require.Equal(t, slurm.ClassAuth, failure(t, c.Ping(t.Context())).Class())
	require.Equal(t, []string{"1"}, refused)
	a.status = 500
	require.NotEqual(t, slurm.ClassAuth, failure(t, c.Ping(t.Context())).Class())
	require.Equal(t, []string{"1"}, refused, "an outage says nothing of the token")
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []slurm.Config{
		{},
		{Socket: "/s", BaseURL: "http://localhost"},
		{BaseURL: "localhost:80"},
		{BaseURL: "ftp://h"},
		{BaseURL: "http://u:p@h"},
		{Socket: "/s", Version: "v0.0.38"},
		{Socket: "/s", Version: "v0.0.46"},
	} {
		_, err := slurm.New(c)
		require.Error(t, err, "%+v", c)
	}
}

func TestPingAsksWhetherAControllerResponds(t *testing.T) {
	t.Parallel()
	require.NoError(t, serve(t, &answers{status: 200, body: sample(t, "ping.json")}).Ping(t.Context()))
	down := `{"pings":[{"hostname":"h","pinged":"DOWN","responding":false}]}`
	require.Equal(t, slurm.ClassOutage, failure(t, serve(t, &answers{status: 200, body: down}).Ping(t.Context())).Class())
}
