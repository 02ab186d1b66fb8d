package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/policy/permit"
)

// passed is what the agent takes over from a verified order.
type passed struct {
	order    broker.WorkOrder
	sandbox  bool
	verified order.Verified
}

// gate is what stands between a message and anything that happens: it verifies
// with the site's trust file, read anew each time so that a key taken out of it
// counts at once.
type gate struct{ path string }

// order verifies order.json; marked says that the journal holds another order
// of the attempt.
func (g gate) order(ctx context.Context, raw []byte, now time.Time, marked bool) (passed, error) {
	t, err := g.trust()
	if err != nil {
		return passed{}, err
	}
	v, err := order.Verify(ctx, raw, t, order.At{Stage: order.StageAgent, Now: now, Marked: marked})
	if err != nil {
		return passed{}, err
	}
	return passed{order: v.Order, verified: v, sandbox: v.Permit.LegalRegime == permit.RegimeSandbox}, nil
}

func (g gate) release(envelope []byte) (airlock.Statement, error) {
	t, err := g.trust()
	if err != nil {
		return airlock.Statement{}, err
	}
	return order.VerifyRelease(envelope, t)
}

// extract is what the node needs of the trust file for one order.
func (g gate) extract(o broker.WorkOrder) ([]byte, error) {
	t, err := g.trust()
	if err != nil {
		return nil, err
	}
	b, err := order.EncodeTrust(t.For(o))
	if err != nil {
		return nil, fmt.Errorf("extract the site's trust: %w", err)
	}
	return b, nil
}

func (g gate) trust() (order.Trust, error) {
	t, err := order.LoadTrust(g.path)
	if err != nil {
		return order.Trust{}, &broker.Error{
			Kind: broker.KindUnavailable, Code: "trust_unavailable", Message: "the site's trust file cannot be used",
			Rule: "nothing is verified without the keys that the site pinned", Help: "look at trust.json of the site", Who: "the site operator", Err: err,
		}
	}
	return t, nil
}
