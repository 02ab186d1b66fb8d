//go:build integration

package slurmrest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/adaptertest"
	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/deploy/lab"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
)

func TestContractOnARealSlurm(t *testing.T) { //nolint:paralleltest // the suite takes daemons and nodes away
	build := func(t *testing.T) agent.Scheduler {
		t.Helper()
		return open(t, settings())
	}
	adaptertest.Run(t, adaptertest.Factory{
		New: build, Launch: func(t *testing.T) broker.Launch {
			t.Helper()
			return launch(t)
		}, Timeout: 60 * time.Second,
		Walltime: time.Second, Overtime: 2 * time.Minute, // Slurm counts minutes and looks every 30 s
		Margin:     3 * time.Second, // the lab's KillWait
		LoseAnswer: loseAnswer,
		Reopen: func(t *testing.T, s agent.Scheduler) agent.Scheduler {
			t.Helper()
			require.NoError(t, s.(*slurmrest.Scheduler).Close())
			return build(t)
		},
		Stranger: func(t *testing.T, s agent.Scheduler) (agent.Scheduler, string) {
			t.Helper()
			return s, other
		},
		Requeue: requeue, Preempt: preempt, LoseNode: loseNode, FailLaunch: failLaunch,
		OverBudget: func(t *testing.T, l *broker.Launch) agent.Scheduler {
			t.Helper()
			c := settings()
			c.SlurmAccount = "tiny" // two GPU-minutes
			l.Resources.Walltime = 10 * time.Minute
			return open(t, c)
		},
		Kill: func(t *testing.T) func() {
			t.Helper()
			writtenDown(t)
			return killed(t, lab.Slurmctld)
		},
		Hang: func(t *testing.T) func() {
			t.Helper()
			require.NoError(t, cluster.Pause(lab.Slurmctld))
			t.Cleanup(func() { _ = cluster.Resume(lab.Slurmctld) }) // twice is once
			return func() {
				require.NoError(t, cluster.Resume(lab.Slurmctld))
				require.NoError(t, cluster.Ready(t.Context()))
			}
		},
		LoseAccounting: func(t *testing.T) func() {
			t.Helper()
			return killed(t, lab.Slurmdbd)
		},
		Gibberish: gibberish, Expire: expire,
		Cannot: map[string]string{
			"OutOfMemory": "OUT_OF_MEMORY comes from a cgroup, and the lab's nodes have none; that the word is known is a test of states",
		},
	})
}

// writtenDown waits until slurmctld has written its jobs down, which it does
// some seconds after a change. Killed before that it takes a job that runs for
// one that waits; valico-exec's mark is what then refuses the second start.
func writtenDown(t *testing.T) {
	t.Helper()
	began := time.Now()
	id := strings.TrimSpace(slurmSays(t, "sbatch", "--parsable", "--hold", "--uid", other, "-D", "/", "-o", "/dev/null", "--wrap", "true"))
	slurmSays(t, "scancel", id)
	require.Eventually(t, func() bool {
		fi, err := os.Stat(filepath.Join(cluster.Dir, "state", "job_state"))
		return err == nil && fi.ModTime().After(began)
	}, time.Minute, 100*time.Millisecond)
}

// killed kills a daemon; begin starts it again.
func killed(t *testing.T, d lab.Daemon) (begin func()) {
	t.Helper()
	require.NoError(t, cluster.Kill(t.Context(), d))
	begun := false
	begin = func() {
		begun = true
		require.NoError(t, cluster.Begin(d))
		require.NoError(t, cluster.Ready(context.Background()))
	}
	t.Cleanup(func() {
		if !begun {
			begin()
		}
	})
	return begin
}

// loseAnswer puts a proxy between slurmrestd and slurmctld: it reads where
// slurmctld listens in a configuration of its own.
func loseAnswer(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	p, err := faultproxy.Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", cluster.BasePort), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) }) // after the scheduler
	c := settings()
	c.SlurmConf = spoiledConf(t, filepath.Base(c.Dir), "SlurmctldPort="+p.Addr()[strings.LastIndexByte(p.Addr(), ':')+1:])
	t.Cleanup(func() { require.Equal(t, 1, p.Lost()) })
	return open(t, c), func(t *testing.T, l broker.Launch) {
		t.Helper()
		p.LoseAnswer(l.Name) // the one request that names it
	}
}

// spoiledConf is the lab's slurm.conf with one line changed, in a folder of its
// own with everything that lies beside it.
func spoiledConf(t *testing.T, name, line string) string {
	t.Helper()
	b, err := os.ReadFile(cluster.SlurmConf)
	require.NoError(t, err)
	key, _, _ := strings.Cut(line, "=")
	var out []string
	for old := range strings.Lines(string(b)) {
		if strings.HasPrefix(old, key+"=") {
			old = line + "\n"
		}
		out = append(out, old)
	}
	dir := filepath.Join(cluster.Dir, "etc", name)
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, f := range []string{"gres.conf", "cgroup.conf"} {
		require.NoError(t, os.Symlink(filepath.Join(cluster.Dir, "etc", f), filepath.Join(dir, f)))
	}
	path := filepath.Join(dir, "slurm.conf")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(out, "")), 0o644))
	return path
}

// handle is Slurm's id of a launch.
func handle(t *testing.T, s agent.Scheduler, l broker.Launch) string {
	t.Helper()
	st, err := s.Find(t.Context(), l)
	require.NoError(t, err)
	return st.Handle
}

// requeue is what an operator does to a job, whatever it asked for.
func requeue(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	s := open(t, settings())
	return s, func(t *testing.T, l broker.Launch) {
		t.Helper()
		id := handle(t, s, l)
		slurmSays(t, "scontrol", "update", "job="+id, "requeue=1")
		slurmSays(t, "scontrol", "requeue", id)
	}
}

// nodeOf is where a launch runs.
func nodeOf(t *testing.T, s agent.Scheduler, l broker.Launch) string {
	t.Helper()
	return strings.TrimSpace(slurmSays(t, "squeue", "-h", "-o", "%N", "-j", handle(t, s, l)))
}

// preempt has work of the QoS "urgent" take every GPU of the launch's node.
func preempt(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	s := open(t, settings())
	return s, func(t *testing.T, l broker.Launch) {
		t.Helper()
		out, err := cluster.Command(t.Context(), other, "sbatch", "--parsable", "--qos", "urgent", "-D", "/", "-o", "/dev/null",
			"-w", nodeOf(t, s, l), fmt.Sprintf("--gres=gpu:%d", cluster.GPUsPerNode), "--wrap", "true").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// loseNode kills the node's slurmd, as when its network breaks: its processes go
// on, and Slurm notices after 15 to 45 s.
func loseNode(t *testing.T) (agent.Scheduler, adaptertest.Fault) {
	t.Helper()
	s := open(t, settings())
	return s, func(t *testing.T, l broker.Launch) {
		t.Helper()
		killed(t, lab.Slurmd(nodeOf(t, s, l)))
	}
}

// failLaunch has the prolog of every node refuse the job.
func failLaunch(t *testing.T, _ *broker.Launch) agent.Scheduler {
	t.Helper()
	for _, n := range cluster.Nodes {
		require.NoError(t, cluster.Refuse(n))
	}
	t.Cleanup(func() {
		for _, n := range cluster.Nodes {
			require.NoError(t, cluster.Allow(n))
		}
		require.NoError(t, cluster.Ready(context.Background()))
	})
	return open(t, settings())
}
