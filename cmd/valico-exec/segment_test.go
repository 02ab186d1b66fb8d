package main_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// resuming is a site whose job counts on in /ckpt until its signal comes.
func resuming(t *testing.T, isolation broker.Isolation) *site {
	t.Helper()
	s := newSite(t, accounts(t)[len(accounts(t))-1])
	s.trust.Isolation = isolation
	s.spec.Image.Command = []string{"/work", "count"}
	s.spec.Resources.Walltime = time.Minute
	s.spec.Resume = broker.Resume{Signal: "USR1", Before: 58 * time.Second, MaxSegments: 3}
	return s
}

// ckpt makes the folder of the job's checkpoints as the agent does.
func (s *site) ckpt() string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "ckpt/job_one/data")
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	uid, err := strconv.Atoi(s.account.Uid)
	require.NoError(s.t, err)
	require.NoError(s.t, os.Chmod(dir, 0o700))
	if uid != os.Getuid() {
		require.NoError(s.t, os.Lchown(dir, uid, uid))
	}
	return dir
}

func TestTheSignalComesBeforeTheWalltimeAndTheCheckpointStays(t *testing.T) {
	t.Parallel()
	for _, isolation := range []broker.Isolation{broker.IsolationUserNS, broker.IsolationNone} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			s := resuming(t, isolation)
			s.stage()
			dir := s.ckpt()
			r := s.exec("run")
			require.Equal(t, broker.ResumeExit, r.code, r.stderr)
			o := s.outcome()
			require.Equal(t, "exit", o.Outcome)
			require.Equal(t, broker.CodeCheckpoint, o.Code)
			require.Less(t, o.ElapsedSeconds, int64(50), "long before the walltime")
			b, err := os.ReadFile(filepath.Join(dir, "n"))
			require.NoError(t, err)
			require.Equal(t, "x", string(b))
		})
	}
}

func TestTermSendsTheSignalFirst(t *testing.T) {
	t.Parallel()
	s := resuming(t, broker.IsolationUserNS)
	s.spec.Resume.Before = time.Second
	s.stage()
	dir := s.ckpt()
	cmd := s.command("valico-exec", "run")
	require.NoError(t, cmd.Start())
	s.awaitWaiting()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	require.Equal(t, broker.ResumeExit, cmd.ProcessState.ExitCode())
	require.FileExists(t, filepath.Join(dir, "n"))
	require.Equal(t, broker.CodeCheckpoint, s.outcome().Code, "a workload that was asked to end wrote its checkpoint")
}

func TestExit85IsAnOrdinaryExitOfAJobOfOneSegment(t *testing.T) {
	t.Parallel()
	s := resuming(t, broker.IsolationUserNS)
	s.spec.Resume = broker.Resume{}
	s.spec.Image.Command = []string{"/work", "more"}
	s.stage()
	require.Equal(t, broker.ResumeExit, s.exec("run").code)
	require.Equal(t, "exit_code", s.outcome().Code)
}

func TestCheckpointsAreBounded(t *testing.T) {
	t.Parallel()
	s := resuming(t, broker.IsolationUserNS)
	s.spec.Image.Command = []string{"/work", "fill"}
	s.stage()
	s.ckpt()
	_ = s.exec("run", "--ckpt-max", "1000000")
	require.Equal(t, "ckpt_full", s.outcome().Code, "whatever the workload says")
	require.Equal(t, "exit", s.outcome().Outcome)

	s = resuming(t, broker.IsolationUserNS)
	s.stage()
	require.NoError(t, os.WriteFile(filepath.Join(s.ckpt(), "large"), make([]byte, 1<<20), 0o644))
	require.Equal(t, 70, s.exec("run", "--ckpt-max", "1000000").code)
	require.Equal(t, "ckpt_full", s.outcome().Code)
	require.Equal(t, "launch_failed", s.outcome().Outcome)
	require.Zero(t, s.runs())
}

func TestNothingRunsWithoutTheFolderForCheckpoints(t *testing.T) {
	t.Parallel()
	s := resuming(t, broker.IsolationUserNS)
	s.stage()
	require.Equal(t, 70, s.exec("run").code)
	require.Equal(t, "launch_failed", s.outcome().Outcome)
	require.Zero(t, s.runs())
}

// ranked is the environment that a step of Slurm has on one of its nodes.
func ranked(n, of string) []string {
	return []string{"SLURM_NODEID=" + n, "SLURM_STEP_NUM_NODES=" + of, "SLURM_LAUNCH_NODE_IPADDR=10.0.0.7"}
}

func TestEachRankStartsOnceAndFindsTheOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.spec.Image.Command, s.spec.Resources.Nodes, s.spec.Network = []string{"/work", "env"}, 2, "job"
	s.stage()
	secret := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	require.NoError(t, os.WriteFile(filepath.Join(s.attempt(), "secret"), []byte(secret), 0o400))
	s.chown()
	said := map[string]map[string]bool{}
	for _, n := range []string{"0", "1"} {
		c := s.command("valico-exec", "run")
		c.Env = append(c.Env, ranked(n, "2")...)
		r := s.finish(c)
		require.Zero(t, r.code, r.stderr)
		said[n] = s.words(n)
		require.True(t, said[n]["RANK="+n])
		require.True(t, said[n]["NODE_RANK="+n])
		c = s.command("valico-exec", "run")
		c.Env = append(c.Env, ranked(n, "2")...)
		r = s.finish(c)
		require.Equal(t, "second_start", code(t, r.stderr))
	}
	for _, w := range []string{"WORLD_SIZE=2", "NNODES=2", "MASTER_ADDR=10.0.0.7", "VALICO_JOB_SECRET=" + secret} {
		require.True(t, said["0"][w] && said["1"][w], w)
	}
	require.Equal(t, 2, s.runs())
}

func TestARankThatTheOrderDoesNotHaveIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		nodes int
		env   []string
	}{
		"a third of two":                {2, ranked("2", "2")},
		"of a larger step":              {2, ranked("1", "3")},
		"outside a step":                {2, nil},
		"not a number":                  {2, ranked("x", "2")},
		"a second of one":               {1, ranked("1", "1")},
		"a second of one in a big step": {1, ranked("1", "2")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, self(t))
			s.spec.Resources.Nodes = c.nodes
			s.stage()
			cmd := s.command("valico-exec", "run")
			cmd.Env = append(cmd.Env, c.env...)
			r := s.finish(cmd)
			require.Equal(t, 70, r.code)
			require.Equal(t, "rank_unknown", code(t, r.stderr))
			require.Zero(t, s.runs())
		})
	}
}

// words are what a rank's workload printed.
func (s *site) words(rank string) map[string]bool {
	s.t.Helper()
	name := "spool"
	if rank != "0" {
		name += "." + rank
	}
	rs, _, err := spool.ReadFrom(filepath.Join(s.attempt(), name), 0)
	require.NoError(s.t, err)
	out := map[string]bool{}
	for _, r := range rs {
		out[r.Text] = true
	}
	return out
}
