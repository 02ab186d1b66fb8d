//go:build integration

package slurm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/deploy/lab"
	"github.com/valico-hpc/valico/slurm"
)

// cluster is the one lab of this test binary; socket and otherSocket are those
// of two persons' slurmrestd, tokenSocket that of one which takes tokens.
var (
	cluster                          *lab.Lab
	socket, otherSocket, tokenSocket string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if cluster, err = lab.Start(ctx, os.Stderr); err != nil {
		return fail(err)
	}
	defer func() {
		if err := cluster.Stop(context.Background()); err != nil {
			code = fail(err)
		}
	}()
	for _, d := range []struct {
		path *string
		user string
		args []string
	}{
		{&socket, "labuser1", []string{"slurmrestd", "-a", "rest_auth/local"}},
		{&otherSocket, "labuser2", []string{"slurmrestd", "-a", "rest_auth/local"}},
		{&tokenSocket, cluster.Service.Name, []string{"env", "SLURM_JWT=daemon", "slurmrestd", "-a", "rest_auth/jwt"}},
	} {
		*d.path = filepath.Join(cluster.Dir, "home", d.user, "rest")
		cmd := cluster.Command(ctx, d.user, append(d.args, "-s", "slurmctld,slurmdbd", "unix:"+*d.path)...)
		cmd.Dir = "/"
		if err := cmd.Start(); err != nil {
			return fail(err)
		}
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}()
		if err := listening(ctx, *d.path); err != nil {
			return fail(err)
		}
	}
	return m.Run()
}

func listening(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer", path)
		case <-tick.C:
		}
	}
}

func client(t *testing.T, path string) *slurm.Client {
	t.Helper()
	c, err := slurm.New(slurm.Config{Socket: path})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// through returns a client whose requests are changed on their way.
func through(t *testing.T, change func(body string) string) *slurm.Client {
	t.Helper()
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "localhost"})
	p.Transport = unixTransport(socket)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); len(b) > 0 {
			b = []byte(change(string(b)))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		} else {
			r.Body = http.NoBody
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c, err := slurm.New(slurm.Config{BaseURL: s.URL})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func unixTransport(path string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
}

func daemonPID(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cluster.Dir, "run", name+".pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.Fields(string(b))[0])
	require.NoError(t, err)
	return pid
}

// small is a request that any node can take.
func small(script string) slurm.Request {
	return slurm.Request{
		Name: "small", Script: "#!/bin/sh\n" + script + "\n", Env: []string{"PATH=/usr/bin:/bin"}, WorkDir: "/",
		Stdout: "/dev/null", Stderr: "/dev/null", Nodes: 1, Tasks: 1, CPUs: 1, MemoryMiB: 32, TimeLimit: time.Minute,
	}
}

func until(t *testing.T, c *slurm.Client, id slurm.JobID, ok func(slurm.Job) bool) slurm.Job {
	t.Helper()
	var j slurm.Job
	require.Eventually(t, func() bool {
		var err error
		j, err = c.Job(t.Context(), id)
		return err == nil && ok(j)
	}, time.Minute, 50*time.Millisecond, "job %s stands at %+v", id, &j)
	return j
}

func final(j slurm.Job) bool {
	return len(j.States) == 1 && j.States[0].Role() == slurm.RoleFinal
}
