package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// take moves an attempt that no scheduler knows of, step by step, until it is
// at its site, ends, or a part does not answer.
func (d *Dispatcher) take(ctx context.Context, h *hands, c Claimed) {
	for !c.Attempt.State.Terminal() && !c.Attempt.State.Submitted() {
		next, err := d.step(ctx, c)
		if broker.CodeOf(err) == broker.CodeSiteClosed {
			d.waits(ctx, h, c, broker.Waiting{Code: broker.WaitSiteCordoned})
			h.again(c.Attempt.ID, d.cfg.Closed)
			return
		}
		if err != nil {
			d.waits(ctx, h, c, faultOf(c.Attempt.State, err))
			if ctx.Err() == nil {
				d.cfg.Log.WarnContext(ctx, "dispatch step", "job_id", c.Job.ID, "attempt_id", c.Attempt.ID,
					"state", string(c.Attempt.State), "error", err)
			}
			h.again(c.Attempt.ID, d.cfg.Retry)
			return
		}
		c.Attempt = next
		h.moved(next)
	}
}

// step takes an attempt from its state to the next.
func (d *Dispatcher) step(ctx context.Context, c Claimed) (broker.Attempt, error) {
	if c.Cancel {
		return d.end(ctx, c, broker.OutcomeCancelled, "cancelled")
	}
	if err := d.open(ctx, c.Job.Site); err != nil {
		return c.Attempt, err
	}
	switch c.Attempt.State {
	case broker.AttemptPackaging:
		return d.pack(ctx, c)
	case broker.AttemptClearing:
		return d.clear(ctx, c)
	case broker.AttemptReady:
		return d.start(ctx, c)
	case broker.AttemptRefused, broker.AttemptSubmitting, broker.AttemptQueued, broker.AttemptStarting,
		broker.AttemptRunning, broker.AttemptSealing, broker.AttemptDone:
	}
	return c.Attempt, fmt.Errorf("no step leads on from %s", c.Attempt.State)
}

// end finishes an attempt and its job. A job that fails before any scheduler
// could know of it was not admitted in the end.
func (d *Dispatcher) end(ctx context.Context, c Claimed, o broker.Outcome, code string) (broker.Attempt, error) {
	to := o.JobState()
	if to == broker.JobFailed && !c.Attempt.State.Submitted() && c.Job.State != broker.JobActive {
		to = broker.JobNotAdmitted
	}
	return d.Store.Advance(ctx, c, Change{
		To: broker.AttemptDone, JobTo: to, Outcome: o, Code: code, FinishedAt: d.now(),
	})
}

// pack assembles and signs the image. What a person can mend ends the attempt;
// what may pass is tried again.
func (d *Dispatcher) pack(ctx context.Context, c Claimed) (broker.Attempt, error) {
	p, err := d.Packager.Package(ctx, c.Job.Tenant, c.Job.Spec.Image)
	if k := broker.KindOf(err); k == broker.KindInvalid || k == broker.KindNotFound {
		d.cfg.Log.InfoContext(ctx, "image refused", "job_id", c.Job.ID, "error", err)
		return d.end(ctx, c, broker.OutcomeLaunchFailed, codeOr(err, "image_invalid"))
	}
	if err != nil {
		return c.Attempt, fmt.Errorf("package: %w", err)
	}
	d.cfg.Step("packaged")
	a, err := d.Store.Advance(ctx, c, Change{To: broker.AttemptClearing, Image: p.Digest})
	d.cfg.Step("clearing")
	return a, err
}

// clear asks for the clearance, waits for its ledger receipt, signs the order
// and stores all three at once: only then is the attempt ready.
func (d *Dispatcher) clear(ctx context.Context, c Claimed) (broker.Attempt, error) {
	p, err := d.Packager.Packaged(ctx, c.Job.Tenant, c.Attempt.Image)
	if err != nil {
		return c.Attempt, fmt.Errorf("read the image back: %w", err)
	}
	cl, err := d.Clearer.Clear(ctx, admission.ClearRequest{Job: c.Job, Attempt: c.Attempt, Token: c.Token, Image: p.View})
	if err != nil {
		return c.Attempt, fmt.Errorf("clear: %w", err)
	}
	if cl.Decision.Verdict != broker.VerdictAllow {
		c.Attempt.State = broker.AttemptRefused // as Store.Clear recorded it
		return c.Attempt, nil
	}
	receipt, err := d.Ledger.Receipt(ctx, cl.Decision.LedgerIndex)
	if err != nil {
		return c.Attempt, fmt.Errorf("ledger receipt: %w", err)
	}
	d.cfg.Step("receipted")
	spec, err := d.Store.SpecBytes(ctx, c.Job.ID)
	if err != nil {
		return c.Attempt, fmt.Errorf("read the job spec: %w", err)
	}
	signed, err := d.Signer.Sign(ctx, d.order(c, cl), broker.Evidence{
		Spec: spec, Permit: cl.Permit.JWS, Status: cl.Permit.Status, Clearance: cl.Decision.Document,
		Receipt: receipt, Manifest: p.Manifest, Config: p.Config, Signature: p.Signature,
	})
	if err != nil {
		return c.Attempt, fmt.Errorf("sign the order: %w", err)
	}
	b, err := d.Codec.Encode(signed)
	if err != nil {
		return c.Attempt, fmt.Errorf("encode the order: %w", err)
	}
	d.cfg.Step("signed")
	a, err := d.Store.Advance(ctx, c, Change{
		To: broker.AttemptReady, Clearance: cl.Decision.ID, Receipt: receipt, Order: signed.Order.ID, OrderBytes: b,
	})
	d.cfg.Step("ready")
	return a, err
}

// order writes down what the site shall do; every field stands in the
// clearance, the spec or the image too, and the site compares them.
func (d *Dispatcher) order(c Claimed, cl admission.Cleared) broker.WorkOrder {
	s, now := c.Job.Spec, d.now()
	o := broker.WorkOrder{
		ID: broker.NewID[broker.OrderID]("ord"), Site: c.Job.Site, Account: cl.Account, KeyEpoch: d.cfg.KeyEpoch,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(d.cfg.StartWithin),
		Tenant: c.Job.Tenant, Job: c.Job.ID, Attempt: c.Attempt.ID, Submitter: c.Job.Submitter,
		Spec: c.Job.SpecDigest, Permit: cl.Permit.Digest, Clearance: broker.DigestOf(cl.Decision.Document), Image: c.Attempt.Image,
		Command: s.Image.Command, Env: s.Image.Env, WorkDir: s.Image.WorkDir,
		Limits: s.Resources, Network: s.Network, Telemetry: s.Telemetry, Outputs: s.Outputs, Resume: s.Resume,
	}
	if s.Resume.Set() {
		o.Segment = c.Attempt.Number
	}
	for _, u := range s.Datasets {
		if r, ok := cl.Site.Dataset(u); ok {
			o.Mounts = append(o.Mounts, broker.Mount{Name: u.Mount, PURI: r.PURI, Version: r.Version, Digest: r.Digest})
		}
	}
	return o
}

// start tells the record first and the site second: from here on the attempt
// counts as submitted, whatever the answer.
func (d *Dispatcher) start(ctx context.Context, c Claimed) (broker.Attempt, error) {
	ch := Change{To: broker.AttemptSubmitting}
	if c.Job.State != broker.JobActive { // the segments after the first find it active
		ch.JobTo = broker.JobActive
	}
	a, err := d.Store.Advance(ctx, c, ch)
	if err != nil {
		return c.Attempt, fmt.Errorf("record the submission: %w", err)
	}
	d.cfg.Step("submitting")
	c.Attempt = a
	return d.hand(ctx, c)
}

// hand gives the stored order to the site. Repeating it is safe: the bytes are
// the same and Start is idempotent by attempt.
func (d *Dispatcher) hand(ctx context.Context, c Claimed) (broker.Attempt, error) {
	site, ok := d.Site(c.Job.Site)
	if !ok {
		return c.Attempt, fmt.Errorf("site %s has no agent here", c.Job.Site)
	}
	b, err := d.Store.OrderBytes(ctx, c.Attempt.ID)
	if err != nil {
		return c.Attempt, fmt.Errorf("read the order back: %w", err)
	}
	o, err := d.Codec.Decode(b)
	if err != nil {
		return c.Attempt, fmt.Errorf("decode the order: %w", err)
	}
	err = site.Start(ctx, o)
	d.cfg.Step("started")
	switch broker.KindOf(err) {
	case broker.KindForbidden, broker.KindInvalid, broker.KindConflict:
		d.cfg.Log.WarnContext(ctx, "site refused the order", "job_id", c.Job.ID, "attempt_id", c.Attempt.ID, "error", err)
		return d.end(ctx, c, broker.OutcomeLaunchFailed, codeOr(err, "refused"))
	case broker.KindUnauthenticated, broker.KindNotFound, broker.KindNotAdmitted, broker.KindQuota,
		broker.KindUnavailable, broker.KindInternal:
		return c.Attempt, fmt.Errorf("start at site: %w", err)
	}
	return c.Attempt, nil // the site's report moves it on
}

func codeOr(err error, fallback string) string {
	if code := broker.CodeOf(err); code != "" {
		return code
	}
	return fallback
}
