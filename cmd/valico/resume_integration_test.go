//go:build integration

package main_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// P3 and P4 between two segments: kill -9 of the broker at every step that ends
// the first, makes the second and brings it to its site.
func TestKillNineBetweenTwoSegments(t *testing.T) {
	t.Parallel()
	bin := brokertest.Programs(t)
	slots := make(chan struct{}, 3)
	for _, point := range []string{
		"segment_prepared", "segment_made", "reported:2", "settled:2", "packaged:2", "clearing:2", "cleared_undecided:2", "cleared:2",
		"receipted:2", "signed:2", "ready:2", "submitting:2", "started:2", "order_kept:2", "journal_received:2", "image_staged:2",
		"journal_staged:2", "submitted:2", "journal_ended:1", "outputs_sealed:1", "journal_sealed:1", "journal_sealed:2",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			r := newRun(t, filepath.Join(bin, "valico-exec"), nil)
			r.prepare()
			r.Start(point)
			job := r.ended("segments", brokertest.Job{Args: `, "-segments", "2"`, More: "resume: {before: 10s, max_segments: 4}\n"})
			require.Equal(t, "succeeded", job.State, "%+v\n%s", job, r.Log())
			require.Len(t, job.Attempts, 2, "one segment follows another, once: %+v", job.Attempts)
			for _, at := range job.Attempts {
				starts, err := os.ReadFile(filepath.Join(r.siteDir(), "quarantine", at.ID, "out", "starts"))
				if !errors.Is(err, os.ErrNotExist) {
					require.NoError(t, err)
				}
				require.Equal(t, 1, bytes.Count(starts, []byte("start\n")), "P4: each segment was executed once")
			}
			r.settledOnce(job)
			r.Stop()
		})
	}
}

// settledOnce checks clearances, budget and ledger after the end.
func (r *run) settledOnce(job wire.Job) {
	r.t.Helper()
	ds, err := r.World.Client(demo.Developer).Decisions(r.t.Context(), job.ID)
	require.NoError(r.t, err)
	cleared := map[string]bool{}
	for _, d := range ds.Decisions {
		cleared[d.Attempt] = cleared[d.Attempt] || d.Kind == broker.DecisionClearance && d.Verdict == "allow"
	}
	for _, at := range job.Attempts {
		require.True(r.t, cleared[at.ID], "P1: segment %d was cleared", at.Number)
	}
	as, err := r.World.Client(demo.OperatorID).Allocations(r.t.Context())
	require.NoError(r.t, err)
	require.Zero(r.t, as.Allocations[0].Reserved, "every reservation was settled")
	require.Zero(r.t, as.Allocations[0].OpenJobs)
	require.NoError(r.t, r.VerifyLedger())
}
