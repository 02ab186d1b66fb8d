//go:build integration

package slurmrest_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// A job that an operator put back and let start again before anybody here looked
// has held its GPUs twice, and both times are charged.
func TestUsageOfARequeuedJobIsTheSumOverItsIncarnations(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	l.Argv, l.Resources.GPUsPerNode = []string{"/bin/sleep", "600"}, 2
	l.Resources.Walltime = 10 * time.Minute
	require.NoError(t, s.Submit(t.Context(), l))
	id := await(t, s, l, func(st agent.Status) bool { return st.State == agent.SchedulerRunning }).Handle
	ran := func(secs int) bool { // in this incarnation, as squeue counts it
		f := strings.Split(strings.TrimSpace(slurmSays(t, "squeue", "-h", "-o", "%T %M", "-j", id)), " ")
		_, tail, found := strings.Cut(f[len(f)-1], ":")
		n, err := strconv.Atoi(tail)
		return f[0] == "RUNNING" && found && err == nil && n >= secs
	}
	require.Eventually(t, func() bool { return ran(2) }, time.Minute, 200*time.Millisecond)
	slurmSays(t, "scontrol", "update", "job="+id, "requeue=1")
	slurmSays(t, "scontrol", "requeue", id)
	require.Eventually(t, func() bool { // Slurm holds it back for two minutes
		if ran(2) {
			return true
		}
		_ = cluster.Command(t.Context(), "root", "scontrol", "update", "job="+id, "starttime=now").Run() // no while it runs
		return false
	}, 2*time.Minute, 500*time.Millisecond)

	require.Equal(t, broker.OutcomePreempted, await(t, s, l, ended).Outcome, "the second start is ended once it is seen")
	var u broker.Usage
	require.Eventually(t, func() bool {
		var err error
		u, err = s.Usage(t.Context(), l)
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	var each []int64
	for line := range strings.Lines(slurmSays(t, "sacct", "-j", id, "-D", "-X", "-n", "-P", "-o", "ElapsedRaw")) {
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		require.NoError(t, err)
		each = append(each, n)
	}
	require.Len(t, each, 2)
	require.GreaterOrEqual(t, min(each[0], each[1]), int64(2), "both ran: %v", each)
	require.Equal(t, time.Duration(each[0]+each[1])*time.Second, u.Elapsed)
	require.Equal(t, 2*(each[0]+each[1]), u.GPUSeconds)
}
