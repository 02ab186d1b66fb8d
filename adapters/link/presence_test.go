package link_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
)

func TestABrokerKnowsWhenItHeardAnAgentAndHowItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Zero(t, w.site.Presence())
	_, err := w.site.Describe(t.Context())
	require.Equal(t, link.CodeAway, broker.CodeOf(err))
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	w.up()
	run(t, w.site)
	require.Eventually(t, func() bool { return w.site.Presence().Agent.Version != "" }, patience, 5*time.Millisecond)
	p := w.site.Presence()
	require.WithinDuration(t, time.Now(), p.Heard, patience)
	require.InDelta(t, 0, p.Ahead.Seconds(), 5)
	p.Agent.At = time.Time{}
	require.Equal(t, broker.SiteAgent{
		Version: "1.2.3", StartedAt: w.auth.Now, Trust: ordertest.DigestOf("trust"), Scheduler: "slurm", SchedulerOK: true, DiskUsed: 5, DiskFree: 6, DiskBound: 7,
	}, p.Agent)

	w.book.mu.Lock()
	w.book.key = nil
	w.book.mu.Unlock()
	require.Equal(t, link.CodeNotEnrolled, broker.CodeOf(w.site.Stop(t.Context(), "att_one")))
}

// TestAlertsWaitForARecordThatFails has the broker's disk full for a while.
func TestAlertsWaitForARecordThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.up()
	w.book.mu.Lock()
	w.book.fail = errors.New("disk full")
	w.book.mu.Unlock()
	require.NoError(t, w.inject([]byte("noise")).Unsubscribe())
	w.refused(link.CodeMalformed, 1)
	s := w.newSite(link.SiteConfig{Every: 20 * time.Millisecond, Timeout: time.Second})
	run(t, s)
	require.Eventually(t, func() bool { return s.Counters().Answered > 6 }, patience, 5*time.Millisecond)
	require.Zero(t, w.book.of(link.CodeMalformed))
	w.stop() // the agent keeps them over a restart too
	w.up()
	w.book.mu.Lock()
	w.book.fail = nil
	w.book.mu.Unlock()
	require.Eventually(t, func() bool { return w.book.of(link.CodeMalformed) == 1 }, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { return s.Presence().Alerts == 0 }, patience, 5*time.Millisecond)
	require.Len(t, w.resp.Alerts(), 1, "the site keeps it")
}

// many is an agent that knows every attempt, and has a fault.
type many struct{ link.Agent }

func (m many) Reports(_ context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	var out []broker.AttemptReport
	for _, id := range ids {
		out = append(out, broker.AttemptReport{Attempt: id, State: broker.AttemptRunning})
	}
	return out, nil
}

func (many) Stop(context.Context, broker.AttemptID) error { panic("a fault of the agent's") }

func TestManyAttemptsAreAskedForInParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(many{w.open()})
	ids := make([]broker.AttemptID, 2345)
	for i := range ids {
		ids[i] = broker.NewID[broker.AttemptID]("att")
	}
	require.Eventually(t, func() bool { _, err := w.site.Describe(t.Context()); return err == nil }, patience, 20*time.Millisecond)
	rs, err := w.site.Reports(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, rs, len(ids))
	for i, r := range rs {
		require.Equal(t, ids[i], r.Attempt)
	}
	s := w.newSite(link.SiteConfig{Timeout: 300 * time.Millisecond})
	require.Equal(t, broker.KindUnavailable, broker.KindOf(s.Stop(t.Context(), "att_one")), "what the agent did is not known")
	_, err = w.site.Describe(t.Context())
	require.NoError(t, err, "a fault ends one request, not the agent")
}

// slow is an agent that gives up when its time is over.
type slow struct{ link.Agent }

func (slow) Stop(ctx context.Context, _ broker.AttemptID) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAnAgentThatIsNotReadyInTimeIsNoFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := slow{w.open()}
	c := w.responder(a)
	c.CallTimeout = 50 * time.Millisecond
	r, err := link.NewResponder(c)
	require.NoError(t, err)
	stop := run(t, r)
	require.Eventually(t, func() bool { _, err := w.site.Describe(t.Context()); return err == nil }, patience, 20*time.Millisecond)
	err = w.site.Stop(t.Context(), "att_one")
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	require.Equal(t, link.CodeLate, broker.CodeOf(err))
	stop()
	require.NoError(t, w.agent.Close())
	w.nc.Close()
}

// large is an agent that sealed more files than fit one answer.
type large struct {
	link.Agent
	m broker.OutputManifest
}

func (l large) Reports(context.Context, []broker.AttemptID) ([]broker.AttemptReport, error) {
	return []broker.AttemptReport{{Attempt: "att_one", State: broker.AttemptDone, Outcome: broker.OutcomeOK, Outputs: &l.m}}, nil
}

func TestALargeManifestComesInParts(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"schema":"valico-outputs/v1","attempt":"att_one","sandbox":true,"sealed_at":"2026-03-02T09:00:00.000000Z","files":[`)
	for i := range 20_000 {
		fmt.Fprintf(&b, `{"path":"out/%06d","size":%d,"digest":"%s"},`, i, i, ordertest.DigestOf("x"))
	}
	m, err := agent.DecodeManifest([]byte(strings.TrimSuffix(b.String(), ",") + `],"skipped":[]}`))
	require.NoError(t, err)
	require.Greater(t, len(m.Bytes), 2<<20)
	w := newWorld(t)
	w.begin(large{w.open(), m})
	var rs []broker.AttemptReport
	require.Eventually(t, func() bool {
		rs, err = w.site.Reports(t.Context(), []broker.AttemptID{"att_one"})
		return err == nil
	}, patience, 20*time.Millisecond)
	require.Equal(t, m, *rs[0].Outputs)

	lie := m
	lie.Digest = ordertest.DigestOf("another")
	w.stop()
	w.begin(large{w.open(), lie})
	require.Eventually(t, func() bool {
		rs, err = w.site.Reports(t.Context(), []broker.AttemptID{"att_one"})
		return err == nil
	}, patience, 20*time.Millisecond)
	require.Equal(t, broker.AttemptSealing, rs[0].State, "no outputs are better than others")
	require.Nil(t, rs[0].Outputs)
}

func TestAnOrderTooLargeForTheLinkIsInvalid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.issue("att_one")
	o.Evidence.Config = make([]byte, link.MaxBody)
	err := w.site.Start(t.Context(), o)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err))
	require.Equal(t, link.CodeTooLarge, broker.CodeOf(err))
}
