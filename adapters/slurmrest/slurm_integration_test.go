//go:build integration

package slurmrest_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func TestNothingThatReachesSlurmNamesPermitDatasetProjectOrPerson(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	out := filepath.Join(l.Dir, "env")
	l.Argv = []string{"/bin/sh", "-c", "env >" + out + "; sleep 1"}
	l.Env = []broker.EnvVar{{Name: "VALICO_SPOOL", Value: l.Dir + "/spool"}}
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, func(st agent.Status) bool { return st.State == agent.SchedulerRunning })
	reached := slurmSays(t, "scontrol", "show", "job", "-dd", st.Handle) + slurmSays(t, "scontrol", "write", "batch_script", st.Handle, "-")
	await(t, s, l, ended)
	require.Eventually(t, func() bool { return strings.Contains(slurmSays(t, "sacct", "-j", st.Handle, "--env-vars"), "PATH=") }, 20*time.Second, 200*time.Millisecond)
	reached += slurmSays(t, "sacct", "-j", st.Handle, "--env-vars") + slurmSays(t, "sacct", "-j", st.Handle, "--batch-script") +
		slurmSays(t, "sacct", "-lp", "-j", st.Handle) + slurmSays(t, "sacct", "-p", "-j", st.Handle, "-o", "all")
	env, err := os.ReadFile(out)
	require.NoError(t, err)
	reached += string(env)
	require.Contains(t, reached, l.Name)
	require.Contains(t, reached, string(l.OrderDigest))
	for _, word := range []string{"permit", "dataset", "project", "tenant", "purpose", "person", "allocation", "cohort", "53(1)", "puri", "valico-agent", "hostname of the broker"} {
		// Slurm's own words: it accounts "AllocTRES" and the like.
		require.NotRegexp(t, regexp.MustCompile(`(?i)`+regexp.QuoteMeta(word)), reached, word)
	}
	// the agent's own environment does not travel
	for e := range strings.SplitSeq(strings.TrimSpace(string(env)), "\n") {
		name, _, _ := strings.Cut(e, "=")
		require.Regexp(t, `^(PATH|PWD|OLDPWD|SHLVL|_|HOME|USER|LOGNAME|SHELL|TMPDIR|ENVIRONMENT|HOSTNAME|VALICO_SPOOL|SLURM.*|SLURMD.*|CUDA_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|ZE_AFFINITY_MASK|GPU_DEVICE_ORDINAL)$`, name)
	}
	require.Contains(t, string(env), "CUDA_VISIBLE_DEVICES=")
}

func TestAJobWhoseGPUsWereNotGrantedIsCancelledAndRefused(t *testing.T) {
	t.Parallel()
	// The job is there already, under our name and digest, without its GPUs: as
	// after a submission whose GPU field was dropped and whose answer was lost.
	s, l := open(t, settings()), launch(t)
	out, err := cluster.Command(t.Context(), person, "sbatch", "--parsable", "--no-requeue", "--hold", "-D", "/", "-o", "/dev/null",
		"-J", l.Name, "--comment", string(l.OrderDigest), "--wrap", "true").CombinedOutput()
	require.NoError(t, err, "%s", out)
	err = s.Submit(t.Context(), l)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%v", err)
	require.Equal(t, "gpus_not_granted", broker.CodeOf(err))
	require.Equal(t, broker.OutcomeCancelled, await(t, s, l, ended).Outcome)
	require.Equal(t, "gpus_not_granted", broker.CodeOf(s.Submit(t.Context(), l)), "asked again, it is not started")
}

func TestAJobThatLostSomeOfItsGPUsIsCancelledToo(t *testing.T) {
	t.Parallel()
	for _, gres := range []string{"gpu:h100:1", "gpu:h100:3", "gpu:2"} { // too few, too many, of no type
		l := launch(t)
		l.Resources.Nodes, l.Resources.GPUsPerNode = 2, 2
		if gres == "gpu:2" { // all of the lab's are of one type, so it is the right number of another
			l.Resources.GPUType = "a100"
		}
		c := open(t, settings()) // which has not heard of the job, as after a lost answer
		out, err := cluster.Command(t.Context(), person, "sbatch", "--parsable", "--no-requeue", "--hold", "-D", "/", "-o", "/dev/null",
			"-N2", "--gres="+gres, "-J", l.Name, "--comment", string(l.OrderDigest), "--wrap", "true").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, "gpus_not_granted", broker.CodeOf(c.Submit(t.Context(), l)), gres)
		require.Equal(t, broker.OutcomeCancelled, await(t, c, l, ended).Outcome, gres)
	}
}

func TestGPUsAskedForAreGrantedAndAccounted(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	l.Argv = []string{"/bin/sleep", "2"}
	l.Resources.Nodes, l.Resources.GPUsPerNode = 2, 2
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, ended)
	require.Equal(t, 4, st.Granted)
	var u broker.Usage
	require.Eventually(t, func() bool {
		var err error
		u, err = s.Usage(t.Context(), l)
		return err == nil
	}, 20*time.Second, 100*time.Millisecond)
	require.Equal(t, int64(4)*int64(u.Elapsed/time.Second), u.GPUSeconds)
	require.GreaterOrEqual(t, u.GPUSeconds, int64(8))
}

func TestMoreGPUsThanThereAreIsRefusedForGood(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	l.Resources.GPUsPerNode = 5
	err := s.Submit(t.Context(), l)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%v", err)
	require.Equal(t, "slurm_refused", broker.CodeOf(err))
}

func TestALaunchThatCanNeverStartIsEndedAndCancelled(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	l.Resources.Walltime = 48 * time.Hour
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, ended)
	require.Equal(t, broker.OutcomeLaunchFailed, st.Outcome)
	require.Equal(t, "PartitionTimeLimit", st.Waiting.Words)
	require.Contains(t, slurmSays(t, "scontrol", "show", "job", st.Handle), "JobState=CANCELLED")
	sts, err := s.Watch(t.Context(), []broker.Launch{l})
	require.NoError(t, err)
	require.Equal(t, []agent.Status{st}, sts, "it is not reported as cancelled by a person afterwards")
}

func TestALaunchOfAMissingFolderDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	l.Argv = []string{"/no/such/program"}
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, ended)
	require.Equal(t, broker.OutcomeExit, st.Outcome)
	require.Equal(t, 127, st.ExitCode)
}

func TestAHeldLaunchSaysSo(t *testing.T) {
	t.Parallel()
	s, l := open(t, settings()), launch(t)
	l.Hold = true
	require.NoError(t, s.Submit(t.Context(), l))
	st := await(t, s, l, func(st agent.Status) bool { return st.State == agent.SchedulerQueued })
	require.Equal(t, "JobHeldUser", st.Waiting.Words)
	require.Equal(t, -1, st.Granted)
	require.NoError(t, s.Cancel(t.Context(), l))
}

func TestASlurmrestdThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	c := settings()
	s, l := open(t, c), launch(t)
	l.Hold = true
	require.NoError(t, s.Submit(t.Context(), l))
	pid := restPID(t, c.Dir)
	uid := strconv.Itoa(cluster.Users[person])
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	require.NoError(t, err)
	for _, want := range []string{"Uid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid, "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Groups:\t \n"} {
		require.Contains(t, string(status), want)
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	require.NoError(t, err)
	require.NotContains(t, string(env), "SLURM_JWT")
	fi, err := os.Stat(filepath.Join(c.Dir, uid))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), fi.Mode().Perm())
	require.Equal(t, uint32(cluster.Users[person]), fi.Sys().(*syscall.Stat_t).Uid)

	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		st, err := s.Find(t.Context(), l)
		return err == nil && st.State == agent.SchedulerQueued
	}, 20*time.Second, 50*time.Millisecond)
	require.NotEqual(t, pid, restPID(t, c.Dir))
	require.NoError(t, s.Cancel(t.Context(), l))
}

func TestAListenerOfAnotherUIDIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	// The account owns the folder of its socket and puts a link to a socket of
	// root's there, which would take the agent's requests for root's own.
	roots := filepath.Join(cluster.Dir, "run", "roots")
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", roots)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	require.NoError(t, os.Chmod(roots, 0o777))
	var met, heard atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			met.Add(1)
			b, _ := io.ReadAll(c)
			heard.Add(int64(len(b)))
			_ = c.Close()
		}
	}()
	s, l := mine(t, `for a; do :; done; ln -s '`+roots+`' "${a#unix:}"; exec sleep 60`)
	ctx, cancel := timeout(t, 2*time.Second)
	defer cancel()
	require.Equal(t, broker.KindUnavailable, broker.KindOf(s.Submit(ctx, l)))
	require.NotZero(t, met.Load())
	require.Zero(t, heard.Load(), "not a byte was sent")
}

func TestWatchAsksOnceForAllAndInDetailOnlyForWhatChanged(t *testing.T) {
	t.Parallel()
	c := settings()
	c.PendingEvery = time.Hour
	s := open(t, c)
	var ls []broker.Launch
	for range 12 {
		l := launch(t)
		l.Hold = true
		require.NoError(t, s.Submit(t.Context(), l))
		ls = append(ls, l)
	}
	_, err := s.Watch(t.Context(), ls)
	require.NoError(t, err)
	before := s.Requests()
	sts, err := s.Watch(t.Context(), ls)
	require.NoError(t, err)
	require.Len(t, sts, len(ls))
	require.Equal(t, int64(1), s.Requests()-before, "one list of states")
	require.NoError(t, s.Cancel(t.Context(), ls[3]))
	before = s.Requests()
	_, err = s.Watch(t.Context(), ls)
	require.NoError(t, err)
	require.Equal(t, int64(2), s.Requests()-before, "and the details of the one that changed")
	for _, l := range ls {
		require.NoError(t, s.Cancel(t.Context(), l))
	}
}
