//go:build integration

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// The named points at which a process is killed. A broker dies in itself, a
// launcher on the node; what the scheduler runs lives on.
var (
	brokerPoints = []string{
		"decided", "admitted", "packaged", "clearing", "cleared_undecided", "cleared", "receipted", "signed", "ready",
		"submitting", "started", "reported", "settled",
		"order_kept", "journal_received", "image_staged", "journal_staged", "journal_submitting", "submitted", "journal_submitted",
		"published", "journal_ended", "outputs_sealed", "journal_sealed",
	}
	localPoints = []string{"recorded", "marked", "opened", "waiting", "pid_recorded"}
	execPoints  = []string{
		"order_read", "order_verified", "start_marked", "spool_started", "unpacked", "sandbox_started", "outcome_written",
	}
)

// neverStarted is how an attempt ends that was launched and surely did nothing.
const neverStarted = "never_started"

// run is a broker that is killed, at one site, and the one job it is given.
type run struct {
	*brokertest.Broker
	t       *testing.T
	site    wire.Site
	data    string
	siteDir func() string
}

// newRun prepares a run on the local site, or on the lab when there is one.
func newRun(t *testing.T, launcher string, cluster *demo.SlurmLab) *run {
	t.Helper()
	r := &run{Broker: brokertest.New(t), t: t}
	r.data = filepath.Join(r.Dir, "cohort")
	r.Configure(func(c *app.Config) {
		var err error
		c.Exec = launcher
		if cluster != nil {
			r.site, r.data, err = cluster.Site(c)
			r.siteDir = cluster.SiteDir
		} else {
			r.site, err = demo.LocalSite()
			r.siteDir = func() string { return filepath.Join(c.DataDir, "sites", r.World.Site.ID) }
		}
		require.NoError(t, err)
	})
	return r
}

// prepare fills the record; the broker that does it dies at no point.
func (r *run) prepare() {
	r.t.Helper()
	r.Prepare(r.site, r.data, 1)
	r.Stop()
}

// ended submits a job and waits for its end while the broker that was to die
// dies, and starts the next one whenever none runs.
func (r *run) ended(key string, j brokertest.Job) wire.Job {
	r.t.Helper()
	j.Site = r.site
	var job wire.Job
	require.Eventually(r.t, func() bool {
		r.Revive()
		var err error
		if job.ID == "" {
			if job, err = r.Submit(r.t.Context(), j, key); err != nil {
				return false
			}
		}
		got, err := r.World.Client(demo.Developer).Job(r.t.Context(), job.ID)
		if err != nil {
			return false
		}
		job = got
		return broker.JobState(job.State).Terminal()
	}, 90*time.Second, 50*time.Millisecond, "the job did not end: %+v\n%s", &job, r.Log())
	return job
}

// truth checks the promises after a job's end.
func (r *run) truth(job wire.Job, want ...string) {
	r.t.Helper()
	require.Len(r.t, job.Attempts, 1)
	at := job.Attempts[0]
	state := job.State
	if at.Code == neverStarted && !slices.Contains(want, "failed") {
		state = neverStarted
	}
	require.Contains(r.t, want, state, "%+v\n%s", job, r.Log())
	starts, err := os.ReadFile(filepath.Join(r.siteDir(), "quarantine", at.ID, "out", "starts"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(r.t, err)
	}
	if at.Code == neverStarted {
		require.Empty(r.t, starts)
	}
	require.LessOrEqual(r.t, bytes.Count(starts, []byte("start\n")), 1, "P4: the attempt was executed more than once")
	if job.State == "succeeded" {
		require.Equal(r.t, "start\n", string(starts))
	}
	ds, err := r.World.Client(demo.Developer).Decisions(r.t.Context(), job.ID)
	require.NoError(r.t, err)
	cleared := false
	for _, d := range ds.Decisions {
		cleared = cleared || d.Kind == "clearance" && d.Verdict == "allow" && d.Attempt == at.ID
	}
	require.True(r.t, cleared || len(starts) == 0, "P1: an attempt was started without a clearance")
	jobs, err := r.World.Client(demo.Developer).Jobs(r.t.Context(), "", 10)
	require.NoError(r.t, err)
	require.Len(r.t, jobs.Jobs, 1, "one idempotency key makes one job")
	as, err := r.World.Client(demo.OperatorID).Allocations(r.t.Context())
	require.NoError(r.t, err)
	require.Zero(r.t, as.Allocations[0].Reserved, "the reservation was settled")
	require.NoError(r.t, r.VerifyLedger())
}

// wrapper is valico-exec with a point at which it dies.
func wrapper(t *testing.T, dir, launcher, point string) string {
	t.Helper()
	path := filepath.Join(dir, "valico-exec")
	script := fmt.Sprintf("#!/bin/sh\nexport VALICO_EXEC_KILLPOINT=%s\nexec %s \"$@\"\n", point, launcher)
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// P1 and P4: kill -9 of the broker and of the launcher at every named step.
// Runs beyond one per step draw step and occurrence from a seed.
func TestKillNineAtEveryStepOnTheLocalSite(t *testing.T) {
	t.Parallel()
	bin := brokertest.Programs(t)
	const runs = 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	type attack struct{ broker, launcher string }
	var attacks []attack
	for _, p := range append(append([]string{}, brokerPoints...), localPoints...) {
		attacks = append(attacks, attack{broker: p})
	}
	for _, p := range execPoints {
		attacks = append(attacks, attack{launcher: p})
	}
	all := append(append([]string{}, brokerPoints...), localPoints...)
	for len(attacks) < runs {
		a := attack{broker: fmt.Sprintf("%s:%d", all[rng.IntN(len(all))], 1+rng.IntN(3))}
		if rng.IntN(4) == 0 {
			a.launcher = execPoints[rng.IntN(len(execPoints))]
		}
		attacks = append(attacks, a)
	}
	slots := make(chan struct{}, 3)
	for i, a := range attacks {
		t.Run(fmt.Sprintf("%03d_%s_%s", i, a.broker, a.launcher), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			launcher := filepath.Join(bin, "valico-exec")
			want := []string{"succeeded"}
			if a.launcher != "" {
				launcher = wrapper(t, t.TempDir(), launcher, a.launcher)
				want = []string{"failed"}
			}
			if a.launcher == "outcome_written" {
				want = []string{"succeeded"}
			}
			if point, _, _ := strings.Cut(a.broker, ":"); slices.Contains(localPoints, point) {
				// The launcher waits until its pid is on the disk. If its parent dies
				// before, it ends without having begun and never reaches its own point,
				// and the job says just that.
				want = append(want, neverStarted)
			}
			r := newRun(t, launcher, nil)
			r.prepare()
			r.Start(a.broker)
			r.truth(r.ended("kill-"+fmt.Sprint(i), brokertest.Job{}), want...)
			r.Stop()
		})
	}
}
