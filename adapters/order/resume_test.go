package order_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

func resumes(p *plan) {
	p.spec.Resume, p.segment = broker.Resume{Signal: "USR1", Before: time.Minute, MaxSegments: 3}, 2
}

func TestASegmentVerifiesWithItsOwnClearance(t *testing.T) {
	t.Parallel()
	for _, stage := range stages() {
		p := newPlan(t)
		resumes(p)
		v, err := p.verify(t, stage)
		require.NoError(t, err)
		require.Equal(t, 2, v.Order.Segment)
		require.Equal(t, p.spec.Resume, v.Order.Resume)
		require.Equal(t, 2, v.Clearance.Segment)
	}
}

func TestASegmentIsTheOneThatWasClearedAndTheSpecAllows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code string
		do   func(p *plan)
	}{
		"another segment was cleared": {order.CodeClearance, func(p *plan) {
			p.clearance = func(c *receipt.Document) { c.Segment = 1 }
		}},
		"no segment was cleared": {order.CodeClearance, func(p *plan) {
			p.clearance = func(c *receipt.Document) { c.Segment = 0 }
		}},
		"more segments than the spec": {order.CodeSpec, func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Resume.MaxSegments = 4 }
		}},
		"another signal": {order.CodeSpec, func(p *plan) {
			p.order = func(o *broker.WorkOrder) { o.Resume.Signal = "USR2" }
		}},
		"a spec of one segment": {order.CodeSpec, func(p *plan) {
			r := p.spec.Resume
			p.spec.Resume = broker.Resume{}
			p.order = func(o *broker.WorkOrder) { o.Resume, o.Segment = r, 2 }
		}},
	} {
		p := newPlan(t)
		resumes(p)
		c.do(p)
		_, err := p.verify(t, order.StageAgent)
		require.Equal(t, c.code, broker.CodeOf(err), "%s: %v", name, err)
	}
}

func TestAnOrderOfASegmentBeyondTheLastIsNotEncoded(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(o *broker.WorkOrder){
		"zero":                func(o *broker.WorkOrder) { o.Segment = 0 },
		"beyond":              func(o *broker.WorkOrder) { o.Segment = 4 },
		"without resume":      func(o *broker.WorkOrder) { o.Resume = broker.Resume{} },
		"a signal of its own": func(o *broker.WorkOrder) { o.Resume.Signal = "KILL" },
		"no time":             func(o *broker.WorkOrder) { o.Resume.Before = o.Limits.Walltime },
	} {
		p := newPlan(t)
		resumes(p)
		signed, _ := p.build(t)
		do(&signed.Order)
		signer, err := order.NewSigner(p.orderKey)
		require.NoError(t, err)
		_, err = signer.Sign(t.Context(), signed.Order, signed.Evidence)
		require.Error(t, err, name)
	}
}

// A site of the version before reads the order of a job of one segment: its
// bytes name nothing that came since.
func TestAnOrderOfOneSegmentReadsAsBefore(t *testing.T) {
	t.Parallel()
	signed, _ := newPlan(t).build(t)
	for _, word := range []string{"segment", "resume"} {
		require.NotContains(t, string(signed.Envelope), word)
		require.NotContains(t, string(signed.Evidence.Clearance), word)
		require.NotContains(t, string(signed.Evidence.Spec), word)
	}
}
