//go:build integration

package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// truth compares what the broker says of every task with what the tasks wrote
// down themselves, and the budgets with the schedulers' accounting.
func (w *world) truth(t *testing.T, tasks []*task) {
	t.Helper()
	ends, seconds, accounted := map[string]int{}, map[string]int64{}, w.accounted(t)
	for _, k := range tasks {
		require.Len(t, k.job.Attempts, 1, k.key)
		at := k.job.Attempts[0]
		starts, stops := k.notes(t, at.ID, "starts"), k.notes(t, at.ID, "ends")
		ends[fmt.Sprintf("%s %s %s %s", k.place.site.Name, k.job.State, at.Outcome, at.Code)]++
		seconds[k.place.site.ID] += at.GPUSeconds
		if err := k.lie(at, starts, stops); err != nil {
			t.Errorf("%s (exit %d, cancel %v, started %d, ended %d): %v: %+v", k.key, k.exit, k.asked, starts, stops, err, k.job)
		}
		if u := accounted[at.ID]; k.place.site.Scheduler == "slurm" && u.seconds != at.GPUSeconds {
			// A slurmctld that comes back with an old state believes for a while that an
			// ended job runs, and writes another end over the one that was settled.
			require.NotNil(t, at.FinishedAt, k.key)
			if !u.end.After(*at.FinishedAt) && !w.forgot.After(at.CreatedAt) {
				t.Errorf("%s: booked %d GPU-seconds, accounted %s: %+v", k.key, at.GPUSeconds, u.record, k.job)
			}
			t.Logf("after the settlement of %d GPU-seconds Slurm wrote: %s", at.GPUSeconds, u.record)
		}
		w.cleared(t, k, starts)
	}
	for what, n := range ends {
		t.Logf("%3d %s", n, what)
	}
	as, err := w.World.Client(demo.OperatorID).Allocations(t.Context())
	require.NoError(t, err)
	require.Len(t, as.Allocations, len(w.sites))
	for _, a := range as.Allocations {
		require.Zero(t, a.Reserved, "%s: every reservation was settled", a.Site)
		require.InDelta(t, float64(seconds[a.SiteID])/3600, a.Used, 1e-9, "%s: what was booked is what its attempts used", a.Site)
	}
	require.NoError(t, w.VerifyLedger())
}

// lie says what is not true in the broker's account of a task.
func (k *task) lie(at wire.Attempt, starts, ends int) error {
	switch {
	case starts > 1:
		return errors.New("P4: it was started more than once")
	case k.job.State == "succeeded" && (ends != 1 || k.exit != 0):
		return errors.New("it did not succeed")
	case k.job.State == "cancelled" && !k.asked:
		return errors.New("nobody cancelled it")
	case k.job.State != "succeeded" && k.job.State != "cancelled" && ends == 1 && k.exit == 0:
		return errors.New("it ended well")
	case at.Outcome == "exit" && (at.ExitCode != k.exit || ends != 1):
		return fmt.Errorf("it did not end by itself with %d", at.ExitCode)
	case at.Outcome == "launch_failed" && starts != 0:
		return errors.New("it was started")
	}
	return nil
}

// notes counts what a task wrote into a file of its own.
func (k *task) notes(t *testing.T, attempt, file string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(k.place.dir, "quarantine", attempt, "out", file))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	return bytes.Count(b, []byte("\n"))
}

// cleared checks P1: what was started was cleared, for this attempt.
func (w *world) cleared(t *testing.T, k *task, starts int) {
	t.Helper()
	ds, err := w.World.Client(demo.Developer).Decisions(t.Context(), k.job.ID)
	require.NoError(t, err)
	for _, d := range ds.Decisions {
		if d.Kind == "clearance" && d.Verdict == string(broker.VerdictAllow) && d.Attempt == k.job.Attempts[0].ID {
			return
		}
	}
	require.Zero(t, starts, "P1: %s was started without a clearance", k.key)
}

// use is what Slurm's own accounting has of a job.
type use struct {
	seconds int64
	end     time.Time
	record  string
}

// accounted is the GPU-seconds of every job by Slurm's own accounting, which
// knows a job by its attempt.
func (w *world) accounted(t *testing.T) map[string]use {
	t.Helper()
	out, err := w.slurm.Command(t.Context(), "root", "sacct", "-X", "-D", "-a", "-n", "-P", "-o", "jobname,elapsedraw,alloctres,state,start,end").Output()
	require.NoError(t, err)
	all := map[string]use{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		require.Len(t, f, 6, line)
		require.NotContains(t, all, f[0], "P4: it was submitted or requeued twice")
		_, gpus, some := strings.Cut(f[2], "gres/gpu=")
		gpus, _, _ = strings.Cut(gpus, ",")
		u := use{record: strings.TrimSpace(line)}
		if some { // a job that never started has none
			n, err := strconv.ParseInt(gpus, 10, 64)
			require.NoError(t, err, line)
			seconds, err := strconv.ParseInt(f[1], 10, 64)
			require.NoError(t, err, line)
			u.seconds = n * seconds
			if u.end = time.Now(); f[5] != "Unknown" { // which is that it runs
				u.end, err = time.ParseInLocation("2006-01-02T15:04:05", f[5], time.Local)
				require.NoError(t, err, line)
			}
		}
		all[f[0]] = u
	}
	return all
}
