//go:build integration

package app_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab"
)

// slurmCluster is the one lab of this test binary; it ends with the binary.
var slurmCluster struct {
	once sync.Once
	lab  *lab.Lab
	err  error
}

// slurmWorld is the story's world on real Slurm, in a folder of its own.
func slurmWorld(t *testing.T, folder string, change ...func(*app.SlurmConfig)) (*world, *demo.SlurmLab) {
	t.Helper()
	slurmCluster.once.Do(func() { slurmCluster.lab, slurmCluster.err = lab.Start(context.Background(), os.Stderr) })
	require.NoError(t, slurmCluster.err)
	execPath, _ := binaries(t)
	l := &demo.SlurmLab{Lab: slurmCluster.lab, Exec: execPath, Folder: folder + strings.ToLower(rand.Text()[:4])} // each run has keys of its own
	cfg := app.DefaultConfig()
	site, data, err := l.Site(&cfg)
	require.NoError(t, err)
	slurm := cfg.Slurm[site.Name]
	for _, f := range change {
		f(&slurm)
	}
	cfg.Slurm[site.Name] = slurm
	w := setupSite(t, site, data, func(c *app.Config) { c.Slurm = cfg.Slurm })
	return w, l
}

// within waits longer for a job's end than ended: Slurm has its own pace.
func (w *world) within(id string, d time.Duration) wire.Job {
	w.t.Helper()
	var job wire.Job
	require.Eventually(w.t, func() bool {
		var err error
		job, err = w.Client(demo.Developer).Job(w.t.Context(), id)
		return err == nil && broker.JobState(job.State).Terminal()
	}, d, 100*time.Millisecond, "%+v", &job)
	return job
}

func gpu(s *broker.JobSpec) { s.Resources.GPUsPerNode, s.Resources.GPUType = 1, "h100" }

func TestAJobGoesOnInSegmentsOnSlurm(t *testing.T) {
	t.Parallel()
	w, l := slurmWorld(t, "segments")
	job := w.segments("slurm", func(s *broker.JobSpec) {
		gpu(s)
		s.Resources.Walltime, s.Resume.Before = 60*time.Second, 57*time.Second
	}, "signal", "3")
	job = w.within(job.ID, 3*time.Minute)
	require.Equal(t, "succeeded", job.State, "%+v", job.Attempts)
	require.Len(t, job.Attempts, 3)
	w.settled(job)
	var sum int64
	for _, a := range job.Attempts {
		sum += a.GPUSeconds
	}
	require.InDelta(t, float64(sum)/3600, w.allocation().Used, 1e-9, "the sum over the segments, as Slurm accounts them")
	require.NoDirExists(t, filepath.Join(l.SiteDir(), "ckpt", job.ID))
}

func TestASegmentWithoutBudgetEndsTheJobAndItsCheckpointStays(t *testing.T) {
	t.Parallel()
	w, l := slurmWorld(t, "budget")
	as := w.allocation()
	job := w.segments("slurm", func(s *broker.JobSpec) {
		gpu(s)
		s.Resources.Walltime = time.Hour - 10*time.Second
		s.Resources.GPUsPerNode, s.Resume.MaxSegments = 4, 3
		s.Resume.Before = time.Hour - 20*time.Second
	}, "signal", "3")
	// Meanwhile an operator gives the project's other jobs what was left.
	require.Eventually(t, func() bool {
		got, err := w.Client(demo.Developer).Job(t.Context(), job.ID)
		return err == nil && len(got.Attempts) == 1 && got.Attempts[0].State == "running"
	}, 90*time.Second, 50*time.Millisecond)
	now := w.allocation()
	_, err := w.Client(demo.OperatorID).AdjustAllocation(t.Context(), as.ID, now.Version, wire.AllocationAdjust{
		GPUHours: new(now.Reserved), Reason: "given to another project",
	})
	require.NoError(t, err)
	job = w.within(job.ID, 3*time.Minute)
	require.Equal(t, "failed", job.State)
	require.Equal(t, "budget_exceeded", job.Code)
	require.Len(t, job.Attempts, 1)
	require.Equal(t, broker.CodeCheckpoint, job.Attempts[0].Code)
	require.DirExists(t, filepath.Join(l.SiteDir(), "ckpt", job.ID, "data"))
	w.settled(job)
}

// A scheduler that takes the nodes away sends TERM; the job's signal comes with it,
// and the job goes on when there is room again. It is not parallel: what is taken
// away is a whole node.
//
//nolint:paralleltest // see above
func TestAJobThatIsPreemptedGoesOn(t *testing.T) {
	w, l := slurmWorld(t, "preempted")
	job := w.segments("slurm", func(s *broker.JobSpec) {
		gpu(s)
		s.Resources.Walltime, s.Resume.Before = 10*time.Minute, time.Second
	}, "signal", "2")
	var id string
	require.Eventually(t, func() bool {
		got, err := w.Client(demo.Developer).Job(t.Context(), job.ID)
		if err != nil || len(got.Attempts) == 0 || got.Attempts[0].State != "running" {
			return false
		}
		id = got.Attempts[0].ID
		return true
	}, 90*time.Second, 50*time.Millisecond)
	says := func(user string, argv ...string) string {
		out, err := l.Lab.Command(t.Context(), user, argv...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	node := says("root", "squeue", "-h", "-o", "%N", "--name="+id)
	urgent := says("labuser2", "sbatch", "--parsable", "--qos=urgent", "--nodelist="+node, "--gres=gpu:h100:4", "--time=1",
		"--output=/dev/null", "--wrap=sleep 2")
	job = w.within(job.ID, 3*time.Minute)
	require.Equal(t, "succeeded", job.State, "%+v", job.Attempts)
	require.Len(t, job.Attempts, 2)
	require.Contains(t, says("root", "sacct", "-n", "-X", "-o", "state", "--name="+id), "PREEMPTED", "Slurm took the node for job "+urgent)
	w.settled(job)
}

// Two emulated nodes share a host here: what is shown is that each rank is
// launched once on its own node, finds the others and keeps strangers out of its
// ring; that nobody else is on the network of the nodes is for a site to measure.
func TestAnAllReduceOverTwoNodesOfSlurm(t *testing.T) {
	t.Parallel()
	w, _ := slurmWorld(t, "ring")
	doc := w.Permit
	doc.ID, doc.Execution.Network = doc.ID+"-job", "job"
	require.NoError(t, w.Import(t.Context(), doc, time.Now()))
	for _, nodes := range []int{2, 3} {
		job := w.segments("slurm", func(s *broker.JobSpec) {
			gpu(s)
			s.Permit, s.Network, s.Resume = broker.PermitID(doc.ID), "job", broker.Resume{}
			s.Resources.Nodes, s.Outputs = nodes, []broker.OutputSpec{{Path: "rank-0.json", Type: "metrics"}}
		}, "allreduce")
		job = w.within(job.ID, 3*time.Minute)
		require.Equal(t, "succeeded", job.State, "%+v", job.Attempts)
		outputs, err := w.Client(demo.Developer).Outputs(t.Context(), job.ID)
		require.NoError(t, err)
		require.Len(t, outputs.Outputs[0].Files, nodes, "the outputs of all ranks are sealed together")
		require.Positive(t, job.Attempts[0].GPUSeconds)
		require.Zero(t, job.Attempts[0].GPUSeconds%int64(nodes), "one GPU on each node, as Slurm accounts them")
	}
}

func TestARankThatFailsEndsTheOthers(t *testing.T) {
	t.Parallel()
	w, _ := slurmWorld(t, "rank")
	doc := w.Permit
	doc.ID, doc.Execution.Network = doc.ID+"-job", "job"
	require.NoError(t, w.Import(t.Context(), doc, time.Now()))
	job := w.segments("slurm", func(s *broker.JobSpec) {
		s.Permit, s.Network, s.Resume = broker.PermitID(doc.ID), "job", broker.Resume{}
		s.Resources.Nodes = 2
	}, "rank-fails")
	job = w.within(job.ID, 3*time.Minute)
	require.Equal(t, "failed", job.State)
	require.Equal(t, "exit", job.Attempts[0].Outcome)
	require.Equal(t, 7, job.Attempts[0].ExitCode)
}
