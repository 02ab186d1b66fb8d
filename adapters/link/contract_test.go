package link_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/dispatch"
)

// port is what the broker asks of a site, near or far.
type port interface {
	dispatch.Site
	airlock.Site
}

var _ port = (*link.Site)(nil)

// TestASiteOverTheLinkBehavesAsInThisProcess runs the same cases against the
// agent itself and against the link to it.
func TestASiteOverTheLinkBehavesAsInThisProcess(t *testing.T) {
	t.Parallel()
	for _, far := range []bool{false, true} {
		pick := func(w *world) port {
			if far {
				return w.site
			}
			return w.agent
		}
		name := map[bool]string{false: "in this process", true: "over the link"}[far]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name string
				run  func(t *testing.T, w *world, s port)
			}{
				{"an order runs once and its outputs are sealed", runsOnce},
				{"the same order again does nothing", sameOrder},
				{"another order of an attempt is refused", secondOrder},
				{"a refusal is the code of package order", refusals},
				{"what was stopped before its order came is not started", stoppedFirst},
				{"stopping ends work, and what is not there is no error", stops},
				{"unknown attempts are left out", unknowns},
				{"outputs leave after a release by another person than the submitter", releases},
				{"what is not sealed or released does not exist", absent},
			} {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.size = 3<<20 + 17 // more than one part
					w.up()
					c.run(t, w, pick(w))
				})
			}
		})
	}
}

func runsOnce(t *testing.T, w *world, s port) {
	t.Helper()
	require.NoError(t, s.Start(t.Context(), w.issue("att_one")))
	r := w.done(s, "att_one")
	require.Equal(t, broker.OutcomeOK, r.Outcome)
	require.Equal(t, broker.Usage{GPUSeconds: 9, Elapsed: r.Usage.Elapsed, Method: "slurmdb"}, r.Usage)
	require.NotNil(t, r.Outputs)
	require.True(t, r.Outputs.Sandbox)
	require.Equal(t, r.Outputs.Digest, broker.DigestOf(r.Outputs.Bytes))
	require.Equal(t, "model.bin", r.Outputs.Files[0].Path)
	near, err := w.agent.Reports(t.Context(), []broker.AttemptID{"att_one"})
	require.NoError(t, err)
	near[0].At = r.At
	require.Equal(t, near[0], r)
	require.Equal(t, 1, w.sched.started("att_one"))
}

func sameOrder(t *testing.T, w *world, s port) {
	t.Helper()
	o := w.issue("att_one")
	for range 3 {
		require.NoError(t, s.Start(t.Context(), o))
	}
	w.done(s, "att_one")
	require.NoError(t, s.Start(t.Context(), o))
	require.Equal(t, 1, w.sched.started("att_one"))
}

func secondOrder(t *testing.T, w *world, s port) {
	t.Helper()
	require.NoError(t, s.Start(t.Context(), w.issue("att_one")))
	err := s.Start(t.Context(), w.auth.Issue(t, "att_one", func(o *broker.WorkOrder) { o.ID = "ord_two" }))
	require.Equal(t, order.CodeSecondStart, broker.CodeOf(err))
	require.Equal(t, broker.KindForbidden, broker.KindOf(err))
}

func refusals(t *testing.T, w *world, s port) {
	t.Helper()
	for code, o := range map[string]broker.SignedOrder{
		order.CodeWrongSite: w.auth.Issue(t, "att_a", func(o *broker.WorkOrder) { o.Site = "site_two" }),
		order.CodeExpired: w.auth.Issue(t, "att_b", func(o *broker.WorkOrder) {
			o.NotBefore, o.NotAfter = w.auth.Now.AddDate(0, 0, -2), w.auth.Now.AddDate(0, 0, -1)
		}),
		order.CodeCommand: w.auth.Issue(t, "att_c", func(o *broker.WorkOrder) { o.Command = []string{"/other"} }),
	} {
		err := s.Start(t.Context(), o)
		require.Equal(t, code, broker.CodeOf(err))
		require.Equal(t, broker.KindForbidden, broker.KindOf(err))
		near := order.Refuse(code, "", nil)
		e := &broker.Error{}
		require.ErrorAs(t, err, &e)
		require.Equal(t, []string{near.Message, near.Rule, near.Help, near.Who}, []string{e.Message, e.Rule, e.Help, e.Who})
	}
	require.Equal(t, order.CodeMalformed, broker.CodeOf(s.Start(t.Context(), broker.SignedOrder{})))
	require.Zero(t, w.sched.launches())
}

func stoppedFirst(t *testing.T, w *world, s port) {
	t.Helper()
	require.NoError(t, s.Stop(t.Context(), "att_one"))
	err := s.Start(t.Context(), w.issue("att_one"))
	require.Equal(t, "attempt_stopped", broker.CodeOf(err))
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	require.Zero(t, w.sched.launches())
}

func stops(t *testing.T, w *world, s port) {
	t.Helper()
	w.sched.mu.Lock()
	w.sched.hold = true
	w.sched.mu.Unlock()
	require.NoError(t, s.Start(t.Context(), w.issue("att_one")))
	require.Eventually(t, func() bool { return w.sched.started("att_one") == 1 }, patience, 20*time.Millisecond)
	require.NoError(t, s.Stop(t.Context(), "att_one"))
	r := w.done(s, "att_one")
	require.Contains(t, []broker.Outcome{broker.OutcomeCancelled, broker.OutcomeLost}, r.Outcome)
	require.NoError(t, s.Stop(t.Context(), "att_one"))
	require.NoError(t, s.Stop(t.Context(), "att_unknown"))
}

func unknowns(t *testing.T, _ *world, s port) {
	t.Helper()
	rs, err := s.Reports(t.Context(), []broker.AttemptID{"att_a", "att_b"})
	require.NoError(t, err)
	require.Empty(t, rs)
	rs, err = s.Reports(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, rs)
}

func releases(t *testing.T, w *world, s port) {
	t.Helper()
	require.NoError(t, s.Start(t.Context(), w.issue("att_one")))
	m := w.done(s, "att_one").Outputs
	own := ordertest.Statement(t, "att_one", m.Digest, person, w.auth.Submitter, w.auth.Now)
	require.Equal(t, "reviewer_is_submitter", broker.CodeOf(s.Release(t.Context(), "att_one", own)))
	other := ordertest.Statement(t, "att_one", ordertest.DigestOf("other"), reviewer, w.auth.Officer, w.auth.Now)
	require.Equal(t, "manifest_mismatch", broker.CodeOf(s.Release(t.Context(), "att_one", other)))
	good := ordertest.Statement(t, "att_one", m.Digest, reviewer, w.auth.Officer, w.auth.Now)
	for range 2 {
		require.NoError(t, s.Release(t.Context(), "att_one", good))
	}
	f, of, err := s.Open(t.Context(), "att_one", "model.bin")
	require.NoError(t, err)
	require.Equal(t, m.Files[0], of)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Len(t, b, w.size)
	require.Equal(t, of.Digest, broker.DigestOf(b))
}

func absent(t *testing.T, w *world, s port) {
	t.Helper()
	none := func(ctx context.Context, path string) {
		_, _, err := s.Open(ctx, "att_one", path)
		require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%s: %v", path, err)
	}
	none(t.Context(), "model.bin")
	require.NoError(t, s.Start(t.Context(), w.issue("att_one")))
	m := w.done(s, "att_one").Outputs
	none(t.Context(), "model.bin")
	require.NoError(t, s.Release(t.Context(), "att_one", ordertest.Statement(t, "att_one", m.Digest, reviewer, w.auth.Officer, w.auth.Now)))
	none(t.Context(), "../manifest.json")
	none(t.Context(), "nothing")
	require.Equal(t, broker.KindNotFound, broker.KindOf(s.Release(t.Context(), "att_two", []byte("{}"))))
}
