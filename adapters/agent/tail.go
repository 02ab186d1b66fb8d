package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// source marks the events of sites.
const source = "site"

// tell tails, and says what went wrong without holding up anything else.
func (a *Agent) tell(ctx context.Context, e *entry) {
	r, see := e.snapshot()
	if a.now().Before(see.tellAt) {
		return
	}
	if err := a.tail(ctx, e); err != nil {
		e.look(func(s *sight) { s.tellAt = a.now().Add(a.cfg.Retry) })
		if ctx.Err() == nil {
			a.cfg.Log.WarnContext(ctx, "telemetry waits", "attempt_id", r.Attempt, "job_id", r.Job, "error", err)
		}
	}
}

// tail publishes what the spool and the agent have to say and were not yet
// acknowledged, batch by batch. Acknowledged place and number go into the
// journal together; a crash before that sends the same events again under the
// same numbers.
func (a *Agent) tail(ctx context.Context, e *entry) error {
	for {
		r, _ := e.snapshot()
		if r.Drained || r.Digest == "" {
			return nil
		}
		b, err := a.batch(r)
		if err != nil {
			return err
		}
		if len(b.events) == 0 && b.offset == r.Offset && !b.drained {
			return nil
		}
		if len(b.events) > 0 {
			err := a.cfg.Publisher.Publish(ctx, b.events)
			if broker.KindOf(err) == broker.KindInvalid {
				// The events of an attempt that cannot be named in a subject can never travel.
				a.cfg.Log.ErrorContext(ctx, "telemetry given up", "attempt_id", r.Attempt, "events", len(b.events), "error", err)
				b.drained = true
			} else if err != nil {
				return fmt.Errorf("publish telemetry: %w", err)
			}
		}
		a.cfg.Step("published")
		err = a.update(e, func(r *record) bool {
			r.Offset, r.Sent, r.Held = b.offset, r.Sent+uint64(len(b.events)), r.Held+b.held
			if b.drained {
				r.Drained, r.Notices = true, nil
			}
			return true
		})
		if err != nil || b.drained {
			return err
		}
	}
}

// batch is what is sent at once.
type batch struct {
	events  []broker.Event
	offset  int64  // in the spool, once they are acknowledged
	held    uint64 // records that the telemetry level held back
	drained bool   // nothing comes after them
}

// batch makes the next events. It is a function of journal and spool alone, so
// that making it again gives the same events.
func (a *Agent) batch(r record) (batch, error) {
	b := batch{offset: r.Offset}
	next := r.Sent
	add := func(ev broker.Event) {
		next++
		ev.Tenant, ev.Job, ev.Attempt, ev.Site, ev.Source, ev.Seq = r.Tenant, r.Job, r.Attempt, a.cfg.Site, source, next
		b.events = append(b.events, ev)
	}
	if next == 0 {
		add(broker.Event{Kind: broker.EventNotice, Name: "order_accepted", Text: "the site verified and accepted the work order", At: r.AcceptedAt})
		return b, nil
	}
	recs, offset, err := spool.ReadFrom(a.spoolPath(r), r.Offset)
	damaged := errors.Is(err, spool.ErrCorrupt)
	if err != nil && !damaged && !errors.Is(err, fs.ErrNotExist) {
		return batch{}, fmt.Errorf("read the spool: %w", err)
	}
	for _, rec := range recs {
		if ev, ok := event(rec, r.Telemetry); ok {
			add(ev)
		} else {
			b.held++
		}
	}
	b.offset = max(offset, r.Offset)
	if len(recs) > 0 || r.State != stateSealed {
		return b, nil
	}
	// Nothing writes to the spool of a sealed attempt: this is the end.
	b.drained = true
	if damaged {
		add(broker.Event{Kind: broker.EventNotice, Name: "spool_damaged", Text: "the spool is damaged; what follows the damage is lost", At: r.SealedAt})
	}
	if r.Held > 0 {
		add(broker.Event{
			Kind: broker.EventNotice, Name: "telemetry_held", Value: float64(r.Held), At: r.SealedAt,
			Text: fmt.Sprintf("%d records stayed at the site, telemetry level %s", r.Held, r.Telemetry),
		})
	}
	for _, n := range r.Notices {
		add(broker.Event{Kind: broker.EventNotice, Name: n.Name, Text: n.Text, At: n.At})
	}
	return b, nil
}

// event translates a record as far as the order's telemetry level lets it out:
// "full" everything, "metrics" numbers and codes, anything else codes alone.
func event(rec spool.Record, level string) (broker.Event, bool) {
	full := level == "full"
	ev := broker.Event{Name: rec.Name, At: rec.At.UTC().Truncate(time.Microsecond)}
	switch rec.Kind {
	case spool.KindStarted:
		ev.Kind, ev.Name = broker.EventNotice, "started"
	case spool.KindMetric:
		ev.Kind, ev.Value, ev.Step = broker.EventMetric, rec.Value, rec.Step
		return ev, full || level == "metrics" && spool.PlainName(rec.Name)
	case spool.KindLog:
		ev.Kind, ev.Text = broker.EventLog, rec.Text
		if rec.Cut > 0 {
			ev.Text += fmt.Sprintf(" [cut: %d bytes]", rec.Cut)
		}
		return ev, full
	case spool.KindNotice:
		ev.Kind = broker.EventNotice
		if full {
			ev.Text = rec.Text
		} else {
			ev.Name = plain(rec.Name)
		}
	case spool.KindOutcome:
		ev.Kind, ev.Name, ev.Value = broker.EventNotice, "ended", float64(rec.ElapsedSeconds)
		ev.Text = ended(rec, full)
	default:
		return ev, false
	}
	return ev, true
}

// ended puts an outcome record into words: codes and numbers, no free text, and
// how the workload failed only where full telemetry is let out.
func ended(rec spool.Record, full bool) string {
	s := fmt.Sprintf("%s after %d s", plain(rec.Outcome), rec.ElapsedSeconds)
	if full {
		s += fmt.Sprintf(", exit code %d", rec.ExitCode)
	}
	if rec.Code != "" && (full || rec.Outcome != string(broker.OutcomeExit)) {
		s += ", " + plain(rec.Code)
	}
	if rec.Dropped > 0 {
		s += fmt.Sprintf(", %d records dropped", rec.Dropped)
	}
	if rec.CutBytes > 0 {
		s += fmt.Sprintf(", %d bytes cut", rec.CutBytes)
	}
	return s
}
