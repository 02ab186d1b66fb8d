package app_test

import (
	"errors"
	"os"
	"os/exec"
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
	"github.com/valico-hpc/valico/policy/permit"
)

// segmentImage is the context of an image whose command is testdata/segment; some
// world was set up before.
var segmentImage = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(builds.dir, "segments") // TestMain removes it
	c := exec.Command("go", "build", "-o", filepath.Join(dir, "segment"), "./testdata/segment")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return dir, nil
})

// segments submits a job of the segment program.
func (w *world) segments(site string, change func(*broker.JobSpec), argv ...string) wire.Job {
	w.t.Helper()
	var err error
	w.image, err = segmentImage()
	require.NoError(w.t, err)
	j := w.job()
	j.Site = site
	spec := w.spec(w.Client(demo.Developer), j)
	spec.Image.Command = append([]string{"/segment"}, argv...)
	spec.Resume = broker.Resume{Signal: "USR1", Before: 10 * time.Second, MaxSegments: 3}
	change(&spec)
	job, err := w.Client(demo.Developer).Submit(w.t.Context(), spec, string(broker.NewID[broker.JobID]("key")))
	require.NoError(w.t, err)
	return job
}

func asIs(*broker.JobSpec) {}

// allocation is the project's only one.
func (w *world) allocation() wire.Allocation {
	w.t.Helper()
	as, err := w.Client(demo.OperatorID).Allocations(w.t.Context())
	require.NoError(w.t, err)
	require.Len(w.t, as.Allocations, 1)
	return as.Allocations[0]
}

// settled checks what holds after every end of a job of segments.
func (w *world) settled(job wire.Job) {
	w.t.Helper()
	ds, err := w.Client(demo.Developer).Decisions(w.t.Context(), job.ID)
	require.NoError(w.t, err)
	cleared := map[string]int{}
	for _, d := range ds.Decisions {
		if d.Kind == broker.DecisionClearance && d.Verdict == "allow" {
			cleared[d.Attempt]++
		}
	}
	for i, a := range job.Attempts {
		require.Equal(w.t, i+1, a.Number)
		require.LessOrEqual(w.t, cleared[a.ID], 1)
		require.True(w.t, a.StartedAt == nil || cleared[a.ID] == 1, "each segment is cleared by itself")
	}
	require.Zero(w.t, w.allocation().Reserved)
}

func TestAJobGoesOnFromItsCheckpointUntilItIsDone(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for verb, before := range map[string]time.Duration{"count": 10 * time.Second, "signal": 118 * time.Second} {
		job := w.segments("local", func(s *broker.JobSpec) { s.Resume.Before = before }, verb, "3")
		job = w.ended(demo.Developer, job.ID)
		require.Equal(t, "succeeded", job.State, "%+v", job.Attempts)
		require.Len(t, job.Attempts, 3)
		for _, a := range job.Attempts[:2] {
			require.Equal(t, broker.CodeCheckpoint, a.Code)
			require.Equal(t, broker.ResumeExit, a.ExitCode)
		}
		w.settled(job)
		outputs, err := w.Client(demo.Developer).Outputs(t.Context(), job.ID)
		require.NoError(t, err)
		last := outputs.Outputs[len(outputs.Outputs)-1]
		require.Len(t, last.Files, 1, "the checkpoint is none of the outputs")
		require.EqualValues(t, 3, last.Files[0].SizeBytes, "it counted on, and did not begin anew")
		require.NoDirExists(t, filepath.Join(filepath.Dir(w.app.OperatorTokenFile()), "sites", w.Site.ID, "ckpt", job.ID), "a job that succeeded leaves no checkpoint")
	}
}

func TestAJobWhoseSegmentsAreUsedUpSaysSo(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.ended(demo.Developer, w.segments("local", asIs, "count", "9").ID)
	require.Equal(t, "failed", job.State)
	require.Equal(t, broker.CodeSegments, job.Code)
	require.Len(t, job.Attempts, 3)
	w.settled(job)
}

// What changes between two segments reaches no scheduler.
func TestWhatEndsAJobBetweenTwoSegments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change      func(w *world, job string)
		state, code string
		attempts    int
	}{
		"the permit is revoked": {func(w *world, _ string) {
			status, err := w.Authority.SignStatus(w.Permit, permit.StatusRevoked, time.Now())
			require.NoError(t, err)
			_, err = w.Client(demo.OperatorID).SetPermitStatus(t.Context(), w.Permit.ID, status)
			require.NoError(t, err)
		}, "failed", "policy", 2},
		"the person cancels": {func(w *world, job string) {
			_, err := w.Client(demo.Developer).Cancel(t.Context(), job)
			require.NoError(t, err)
		}, "cancelled", "cancelled", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			w := setup(t, func(c *app.Config) {
				c.Step = func(step string) {
					if step == "segment_prepared" {
						once.Do(func() { close(reached); <-goOn })
					}
				}
			})
			job := w.segments("local", asIs, "count", "3")
			<-reached
			c.change(w, job.ID)
			close(goOn)
			job = w.ended(demo.Developer, job.ID)
			require.Equal(t, c.state, job.State, "%+v", job.Attempts)
			require.Equal(t, c.code, job.Code)
			require.Len(t, job.Attempts, c.attempts)
			require.Nil(t, job.Attempts[1].StartedAt)
			w.settled(job)
		})
	}
}

func TestAPlanSaysWhatASegmentAndAllTogetherMayCost(t *testing.T) {
	t.Parallel()
	w := setup(t)
	spec := w.spec(w.Client(demo.Developer), w.job())
	spec.Resume = broker.Resume{Signal: "USR1", Before: 10 * time.Second, MaxSegments: 3}
	spec.Resources.Nodes, spec.Network = 2, "job"
	p, err := w.Client(demo.Developer).Plan(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, 3, p.Sites[0].Segments)
	require.InDelta(t, 3*p.Sites[0].GPUHours, p.Sites[0].GPUHoursInAll, 1e-9)
	var codes []string
	for _, r := range p.Sites[0].Reasons {
		codes = append(codes, r.Code)
	}
	require.Contains(t, codes, "nodes_not_supported", "why not there")
	require.NotContains(t, strings.Join(codes, " "), "resume")
}
