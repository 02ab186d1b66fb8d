package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Reports says how attempts stand. It asks neither scheduler nor network: Run
// does, and writes down what it learned. An attempt whose outputs cannot be read
// back is sealing until they can.
func (a *Agent) Reports(ctx context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	out := make([]broker.AttemptReport, 0, len(ids))
	for _, id := range ids {
		e, err := a.find(id)
		if err != nil {
			return nil, unavailable("journal_unavailable", err)
		}
		if e == nil {
			continue
		}
		r, err := a.report(e)
		if err != nil {
			// It waits as it is. Others are reported on, and stopped, all the same.
			a.cfg.Log.ErrorContext(ctx, "report on an attempt", "attempt_id", id, "error", err)
			r = broker.AttemptReport{Attempt: id, State: broker.AttemptSealing, StartedAt: r.StartedAt, At: r.At}
		}
		out = append(out, r)
	}
	return out, nil
}

func (a *Agent) report(e *entry) (broker.AttemptReport, error) {
	r, see := e.snapshot()
	rep := broker.AttemptReport{Attempt: r.Attempt, StartedAt: r.StartedAt, At: a.now()}
	if rep.StartedAt.IsZero() {
		rep.StartedAt = see.scan.started
	}
	switch r.State {
	case stateReceived, stateStaged, stateSubmitting:
		rep.State = broker.AttemptSubmitting
	case stateSubmitted:
		if rep.State, rep.Waiting = running(see); a.unheard() && (rep.State == broker.AttemptQueued || rep.State == broker.AttemptSubmitting) {
			rep.Waiting = broker.Wait(broker.WaitSchedulerUnreachable, "", time.Time{})
		}
	case stateEnded:
		rep.State = broker.AttemptSealing
	case stateSealed:
		if !r.Drained && rep.At.Sub(r.SealedAt) < a.cfg.TelemetryGrace {
			rep.State = broker.AttemptSealing
			break
		}
		rep.State = broker.AttemptDone
		rep.Outcome, rep.ExitCode, rep.Code, rep.Usage, rep.FinishedAt = r.Outcome, r.ExitCode, r.Code, r.Usage.usage(), r.FinishedAt
		if r.Manifest != "" {
			m, err := a.manifest(r)
			if err != nil {
				return rep, err
			}
			rep.Outputs = &m
		}
	default:
		return rep, fmt.Errorf("journal state %q is not known", r.State)
	}
	return rep, nil
}

// unheardFor is how long the scheduler may not answer before attempts are said to
// wait for it: a moment's silence is no news.
const unheardFor = 15 * time.Second

// unheard reports whether the scheduler has not answered for a while.
func (a *Agent) unheard() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mute && a.now().Sub(a.muted) >= unheardFor
}

// running translates what was seen of a submitted attempt.
func running(see sight) (broker.AttemptState, broker.Waiting) {
	switch see.state {
	case SchedulerQueued:
		return broker.AttemptQueued, see.waiting
	case SchedulerRunning, SchedulerEnding, SchedulerEnded, SchedulerGone:
		if see.scan.started.IsZero() && see.state == SchedulerRunning {
			return broker.AttemptStarting, broker.Waiting{}
		}
		return broker.AttemptRunning, broker.Waiting{}
	case SchedulerUnknown:
	}
	if !see.scan.started.IsZero() {
		return broker.AttemptRunning, broker.Waiting{}
	}
	return broker.AttemptSubmitting, broker.Waiting{}
}
