package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// Start verifies an order, keeps it in the journal and answers; everything
// else follows. The same order again is found and does nothing. A refusal is
// the error of order.Verify unchanged.
func (a *Agent) Start(ctx context.Context, o broker.SignedOrder) error {
	b, err := order.Encode(o)
	if err != nil {
		return order.Refuse(order.CodeMalformed, "", err)
	}
	if o, err = order.Decode(b); err != nil { // what the envelope says, not what came beside it
		return err
	}
	digest := broker.DigestOf(b)
	var old record
	if e, err := a.find(o.Order.Attempt); err != nil {
		return unavailable("journal_unavailable", err)
	} else if e != nil {
		if old, _ = e.snapshot(); old.Digest == digest {
			return nil
		}
	}
	p, err := a.gate.order(ctx, b, a.cfg.Now(), old.Digest != "")
	if err != nil {
		a.sayRefused(ctx, o.Order, err)
		return err
	}
	if a.cfg.Rules != nil {
		if err := a.cfg.Rules.Decide(ctx, p.verified, o.Evidence, a.cfg.Now()); err != nil {
			a.sayRefused(ctx, o.Order, err)
			return err
		}
	}
	if !safeName(string(p.order.Attempt)) || !safeName(string(p.order.Job)) || p.order.Account == "" {
		return order.Refuse(order.CodeMalformed, "", fmt.Errorf("an attempt or job that cannot be a name, or no account"))
	}
	if err := a.receive(p, b, digest); err != nil {
		return err
	}
	a.wake()
	return nil
}

// receive writes a verified order into the journal, once per attempt.
func (a *Agent) receive(p passed, b []byte, digest broker.Digest) error {
	id := p.order.Attempt
	defer a.hold(id)()
	old, err := a.read(id)
	switch {
	case err != nil:
		return unavailable("journal_unavailable", err)
	case old != nil && old.Digest == digest:
		return nil
	case old != nil && old.Digest == "":
		return &broker.Error{
			Kind: broker.KindConflict, Code: "attempt_stopped", Message: "the attempt was stopped before its order came", Value: string(id),
			Rule: "what was stopped is not started", Help: "submit the job again", Who: "the submitter",
		}
	case old != nil:
		return order.Refuse(order.CodeSecondStart, string(id), fmt.Errorf("the journal holds order %s", old.Digest))
	}
	l := p.order.Limits
	r := record{
		V: 1, State: stateReceived, Attempt: id, Tenant: p.order.Tenant, Job: p.order.Job, Submitter: p.order.Submitter,
		Account: p.order.Account, Digest: digest, NotAfter: p.order.NotAfter, AcceptedAt: a.now(),
		Telemetry: p.order.Telemetry, Sandbox: p.sandbox, Segments: p.order.Resume.MaxSegments,
		Limits: limits{
			Nodes: l.Nodes, GPUs: l.GPUsPerNode, GPUType: l.GPUType, CPUs: l.CPUsPerNode, Memory: l.MemoryMiB,
			Walltime: int64((l.Walltime + time.Second - 1) / time.Second),
		},
	}
	// The order first: a journal record without its order could not be staged.
	if err := writeFile(a.orderPath(id), b, 0o600); err != nil {
		return unavailable("journal_unavailable", err)
	}
	a.cfg.Step("order_kept")
	if err := a.write(r); err != nil {
		return unavailable("journal_unavailable", err)
	}
	a.mu.Lock()
	a.entries[id] = &entry{rec: r}
	a.mu.Unlock()
	a.cfg.Step("journal_received")
	return nil
}

// sayRefused tells the job's people of a refusal that stays one. Nothing is kept
// and nothing waits for it: the answer of Start is what counts. An order that its
// broker did not sign speaks for no job, whatever it says of itself.
func (a *Agent) sayRefused(ctx context.Context, o broker.WorkOrder, cause error) {
	a.cfg.Log.WarnContext(ctx, "order refused", "attempt_id", o.Attempt, "job_id", o.Job, "code", broker.CodeOf(cause), "error", cause)
	unsigned := []string{order.CodeMalformed, order.CodeKeyUnknown, order.CodeKeyRole, order.CodeSignature}
	text, stays := "the site refused the work order", broker.KindOf(cause) == broker.KindForbidden
	if e, ok := errors.AsType[*broker.Error](cause); ok && e.Kind == broker.KindInvalid { // of the site's own rules
		text, stays = e.Message+": "+e.Value, true
	}
	if o.Site != a.cfg.Site || !stays || slices.Contains(unsigned, broker.CodeOf(cause)) {
		return
	}
	if e, err := a.find(o.Attempt); err != nil || e != nil {
		return // event 1 of that attempt is taken
	}
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	err := a.cfg.Publisher.Publish(ctx, []broker.Event{{
		Tenant: o.Tenant, Job: o.Job, Attempt: o.Attempt, Site: a.cfg.Site, Source: source, Seq: 1,
		Kind: broker.EventNotice, Name: broker.CodeOf(cause), Text: text, At: a.now(),
	}})
	if err != nil {
		a.cfg.Log.InfoContext(ctx, "refusal not published", "attempt_id", o.Attempt, "error", err)
	}
}

// Stop ends an attempt's work. An attempt that is not known is written down as
// stopped, so that an order that is still under way is refused.
func (a *Agent) Stop(_ context.Context, id broker.AttemptID) error {
	if !safeName(string(id)) {
		return nil
	}
	e, err := a.find(id)
	if err != nil {
		return unavailable("journal_unavailable", err)
	}
	if e == nil {
		if e, err = a.tombstone(id); err != nil || e == nil {
			return err
		}
	}
	err = a.update(e, func(r *record) bool {
		if r.Stop || r.State == stateEnded || r.State == stateSealed {
			return false
		}
		r.Stop = true
		return true
	})
	if err != nil {
		return unavailable("journal_unavailable", err)
	}
	a.wake()
	return nil
}

// tombstone writes down that an unknown attempt was stopped. If its order came
// meanwhile the entry is returned instead.
func (a *Agent) tombstone(id broker.AttemptID) (*entry, error) {
	defer a.hold(id)()
	if e := a.entry(id); e != nil {
		return e, nil
	}
	now := a.now()
	err := a.write(record{
		V: 1, State: stateSealed, Attempt: id, Stop: true, Drained: true,
		Outcome: broker.OutcomeCancelled, Code: "cancelled", FinishedAt: now, SealedAt: now,
	})
	if err != nil {
		return nil, unavailable("journal_unavailable", err)
	}
	return nil, nil
}

func unavailable(code string, err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: code, Message: "the site's agent cannot use its journal",
		Rule: "nothing happens that is not in the journal first", Help: "look at the site's disk", Who: "the site operator", Err: err,
	}
}
