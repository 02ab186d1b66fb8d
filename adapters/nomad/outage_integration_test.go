//go:build integration

package nomad_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

func TestAnAnswerLostOnTheWireIsUnavailableAndTheSecondSubmissionFindsTheFirst(t *testing.T) {
	t.Parallel()
	to, err := url.Parse(cluster.Address)
	require.NoError(t, err)
	var lose, registered atomic.Int64
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodPut && r.Request.URL.Path == "/v1/jobs" && r.StatusCode == http.StatusOK {
				registered.Add(1)
				if lose.Add(-1) >= 0 {
					panic(http.ErrAbortHandler) // Nomad took it, and the connection breaks
				}
			}
			return nil
		},
	}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close) // after the scheduler, whose event stream it would wait for
	c := settings(t)
	c.Address = srv.URL
	s, l := open(t, c), launch(t)
	l.Argv = []string{"/bin/sh", "-c", "echo start >>" + filepath.Join(l.Dir, "starts")}
	lose.Store(1)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(s.Submit(t.Context(), l)))
	require.NoError(t, s.Submit(t.Context(), l))
	require.Equal(t, broker.OutcomeOK, await(t, s, l, ended).Outcome)
	require.Equal(t, int64(1), registered.Load(), "Nomad took it once")
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(b), "start"))
}

func TestAJobOutlivesItsAgentAndIsWatchedOn(t *testing.T) { //nolint:paralleltest // it stops the agent that the others need
	s, l := open(t, settings(t)), launch(t)
	l.Argv = []string{"/bin/sh", "-c", "echo start >>" + l.Dir + "/starts; while [ ! -e " + l.Dir + "/end ]; do sleep 0.05; done; exit 6"}
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, running)
	require.NoError(t, cluster.Down())
	var err error
	require.Eventually(t, func() bool {
		_, err = s.Find(t.Context(), l)
		return err != nil
	}, pollFor, pollEach)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	require.Equal(t, "scheduler_unavailable", broker.CodeOf(err))
	m := launch(t)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(s.Submit(t.Context(), m)))
	require.NoError(t, cluster.Up(t.Context()))
	await(t, s, l, func(st agent.Status) bool { return st.State == agent.SchedulerRunning })
	require.NoError(t, os.WriteFile(filepath.Join(l.Dir, "end"), nil, 0o600))
	st := await(t, s, l, ended)
	require.Equal(t, broker.OutcomeExit, st.Outcome)
	require.Equal(t, 6, st.ExitCode)
	require.Equal(t, st, watch(t, s, l))
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	require.NoError(t, err)
	require.Equal(t, "start\n", string(b))
	require.NoError(t, s.Submit(t.Context(), m), "and it takes new ones")
	require.Equal(t, broker.OutcomeOK, await(t, s, m, ended).Outcome)
}

func TestALaunchWhoseNodeIsLostSaysSoAndIsNotStartedElsewhere(t *testing.T) {
	t.Parallel()
	kill, err := cluster.SecondNode(t.Context())
	require.NoError(t, err)
	c := settings(t)
	c.NodePool = nomadlab.SecondPool
	s, l := open(t, c), launch(t)
	l.Argv = []string{"/bin/sh", "-c", "echo start >>" + l.Dir + "/starts; exec sleep 100"}
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, running)
	require.NoError(t, kill())
	st := await(t, s, l, ended) // after Nomad's heartbeats, about 20 s
	require.Equal(t, broker.OutcomeNodeFail, st.Outcome)
	u, err := s.Usage(t.Context(), l)
	require.NoError(t, err)
	require.GreaterOrEqual(t, u.GPUSeconds, int64(5), "the GPU was held until Nomad noticed")
	j, _, err := cluster.API.Jobs().Info(l.Name, (&api.QueryOptions{Namespace: cluster.Namespace}).WithContext(t.Context()))
	require.NoError(t, err)
	require.True(t, *j.Stop, "no replacement waits for a node")
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	require.NoError(t, err)
	require.Equal(t, "start\n", string(b))
}
