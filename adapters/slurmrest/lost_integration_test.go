//go:build integration

package slurmrest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func TestALostAnswerIsUnavailableAndTheSecondSubmissionFindsTheFirst(t *testing.T) { //nolint:paralleltest // it stops the controller that the others need
	c := settings()
	s, l := open(t, c), launch(t)
	first := launch(t) // the account's slurmrestd is up
	first.Hold = true
	require.NoError(t, s.Submit(t.Context(), first))
	b, err := os.ReadFile(filepath.Join(cluster.Dir, "run", "slurmctld.pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.Fields(string(b))[0])
	require.NoError(t, err)
	// The controller hears the request and does not answer: after Slurm's own
	// timeout the answer is 504, and the request is carried out later.
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	resume := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	defer resume()
	l.Hold = true
	err = s.Submit(t.Context(), l)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	resume()
	require.Eventually(t, func() bool { return s.Submit(t.Context(), l) == nil }, pollFor, pollEach)
	st := await(t, s, l, func(st agent.Status) bool { return st.State == agent.SchedulerQueued })
	require.Equal(t, 1, strings.Count(slurmSays(t, "squeue", "-h", "-o", "%j"), l.Name), "it is there once")
	require.NotEmpty(t, st.Handle)
	for _, x := range []broker.Launch{l, first} {
		require.NoError(t, s.Cancel(t.Context(), x))
	}
}
