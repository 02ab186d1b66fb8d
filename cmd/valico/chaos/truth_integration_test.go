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

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// truth compares what the broker says of every task with what the tasks wrote
// down themselves, and the budgets with the schedulers' accounting.
func (w *world) truth(t *testing.T, tasks []*task) {
	t.Helper()
	ends, seconds := map[string]int{}, map[string]int64{}
	for _, k := range tasks {
		require.Len(t, k.job.Attempts, 1, k.key)
		at := k.job.Attempts[0]
		starts, stops := k.notes(t, at.ID, "starts"), k.notes(t, at.ID, "ends")
		ends[fmt.Sprintf("%s %s %s %s", k.place.site.Name, k.job.State, at.Outcome, at.Code)]++
		seconds[k.place.site.ID] += at.GPUSeconds
		if err := k.lie(at, starts, stops); err != nil {
			t.Errorf("%s (exit %d, cancel %v, started %d, ended %d): %v: %+v", k.key, k.exit, k.asked, starts, stops, err, k.job)
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
	require.Equal(t, w.accounted(t), seconds[w.sites["slurm"].site.ID], "Slurm's own accounting says the same")
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

// accounted is the GPU-seconds of every job by Slurm's own accounting, all
// incarnations included.
func (w *world) accounted(t *testing.T) (sum int64) {
	t.Helper()
	out, err := w.slurm.Command(t.Context(), "root", "sacct", "-X", "-D", "-a", "-n", "-P", "-o", "elapsedraw,alloctres,jobname").Output()
	require.NoError(t, err)
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		require.Len(t, f, 3, line)
		require.False(t, seen[f[2]], "P4: %s was submitted or requeued twice", f[2])
		seen[f[2]] = true
		_, gpus, ok := strings.Cut(f[1], "gres/gpu=")
		if !ok {
			continue // it never had any
		}
		gpus, _, _ = strings.Cut(gpus, ",")
		n, err := strconv.ParseInt(gpus, 10, 64)
		require.NoError(t, err, line)
		seconds, err := strconv.ParseInt(f[0], 10, 64)
		require.NoError(t, err, line)
		sum += n * seconds
	}
	return sum
}
