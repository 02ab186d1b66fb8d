package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func testEnv(server string) (*env, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now,
		Getenv: func(k string) string { return map[string]string{"VALICO_SERVER": server}[k] },
	}, &out, &errs
}

func TestEachKindHasItsExitCode(t *testing.T) {
	t.Parallel()
	for kind, code := range map[broker.Kind]int{
		broker.KindInvalid: 2, broker.KindConflict: 2, broker.KindNotAdmitted: 3, broker.KindQuota: 4, broker.KindNotFound: 5,
		broker.KindForbidden: 5, broker.KindUnavailable: 6, broker.KindUnauthenticated: 8, broker.KindInternal: 1,
	} {
		require.Equal(t, code, exitCode(&broker.Error{Kind: kind}), "%s", kind)
	}
	require.Equal(t, 1, exitCode(errors.New("x")))
	require.Equal(t, 7, exitCode(&jobEndedError{id: "job_1", state: "failed"}))
}

func TestAnInterruptedWatchExits130(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(": valico\n\n"))
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	e, _, errs := testEnv(s.URL)
	require.Equal(t, exitInterrupted, run(ctx, e, []string{"watch", "job_1"}))
	require.Empty(t, errs.String())
}

func TestAFailedJobExits7AndMetricsShareOneLineOnATerminal(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			_, _ = w.Write([]byte(`{"id":"job_1","state":"failed","code":"exit"}`))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("id: 1\nevent: metric\ndata: {\"cursor\":1,\"kind\":\"metric\",\"name\":\"loss\",\"value\":0.5,\"step\":1,\"at\":\"2026-11-24T12:00:00Z\"}\n\n" +
			"id: 2\nevent: metric\ndata: {\"cursor\":2,\"kind\":\"metric\",\"name\":\"loss\",\"text\":\"NaN\",\"step\":2,\"at\":\"2026-11-24T12:00:01Z\"}\n\n" +
			"id: 3\nevent: log\ndata: {\"cursor\":3,\"kind\":\"log\",\"name\":\"stdout\",\"text\":\"\\u001b[31mred\",\"at\":\"2026-11-24T12:00:02Z\"}\n\n" +
			"id: 3\nevent: done\ndata: {}\n\n"))
	}))
	t.Cleanup(s.Close)
	for tty, lines := range map[bool]int{true: 2, false: 3} {
		e, out, errs := testEnv(s.URL)
		e.OutTTY = tty
		require.Equal(t, exitJobFailed, run(t.Context(), e, []string{"watch", "job_1"}))
		require.Equal(t, lines, strings.Count(out.String(), "\n"), out.String())
		require.Contains(t, out.String(), "loss NaN")
		require.NotContains(t, out.String(), "\x1b[31m", "foreign text steers no terminal")
		require.Contains(t, errs.String(), "job job_1 ended as failed: exit")
	}
	e, out, errs := testEnv(s.URL)
	require.Equal(t, exitJobFailed, run(t.Context(), e, []string{"watch", "job_1", "-o", "json"}))
	require.Equal(t, 3, strings.Count(out.String(), "\n"), "one object a line")
	require.Contains(t, errs.String(), `"type": "https://valico-hpc.github.io/problems/job-failed"`)
}

func TestAnOutputsNameCannotLeaveTheFolder(t *testing.T) {
	t.Parallel()
	const content = "x"
	d := string(broker.DigestOf([]byte(content)))
	for _, name := range []string{"../escape", "/etc/escape", "a/../../escape"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/outputs") {
				_, _ = w.Write([]byte(content))
				return
			}
			_, _ = w.Write([]byte(`{"outputs":[{"attempt":"att_1","manifest":"m","released":true,"sandbox":true,"sealed_at":"2026-11-24T12:00:00Z",` +
				`"files":[{"path":"` + name + `","size_bytes":1,"digest":"` + d + `"}]}]}`))
		}))
		t.Cleanup(s.Close)
		dir := t.TempDir()
		e, out, _ := testEnv(s.URL)
		require.NotEqual(t, exitOK, run(t.Context(), e, []string{"fetch", "job_1", "--dir", dir + "/in"}), name)
		require.Empty(t, out.String())
		require.NoFileExists(t, dir+"/escape")
	}
}
