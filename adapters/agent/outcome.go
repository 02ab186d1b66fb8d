package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// scan is what the spool says of start and end, read ahead of what is
// published, so that an outcome never waits for telemetry.
type scan struct {
	offset  int64
	started time.Time
	outcome *spool.Record
	damaged bool
}

// scan reads on in the spools of all ranks.
func (a *Agent) scan(e *entry, r record) error {
	_, see := e.snapshot()
	ranks := make([]scan, max(1, r.Limits.Nodes))
	copy(ranks, see.ranks)
	for n := range ranks {
		if err := a.scanRank(r, n, &ranks[n]); err != nil {
			return err
		}
	}
	e.look(func(x *sight) { x.ranks, x.scan = ranks, joined(ranks) })
	return nil
}

// scanRank reads on in one spool. A damaged spool says nothing more.
func (a *Agent) scanRank(r record, rank int, s *scan) error {
	for !s.damaged && s.outcome == nil {
		recs, next, err := spool.ReadFrom(layout.Spool(a.attemptDir(r.Attempt), rank), s.offset)
		for _, rec := range recs {
			switch rec.Kind {
			case spool.KindStarted:
				s.started = a.between(r, rec.At)
			case spool.KindOutcome:
				s.outcome = &rec
			case spool.KindMetric, spool.KindLog, spool.KindNotice:
			}
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, spool.ErrCorrupt):
			s.damaged = true
		case err != nil:
			return fmt.Errorf("read the spool: %w", err)
		}
		if next <= s.offset {
			break
		}
		s.offset = next
	}
	return nil
}

// between holds a time that the spool gives to what the agent saw itself: no
// earlier than the order, no later than now.
func (a *Agent) between(r record, at time.Time) time.Time {
	at, now := at.UTC().Truncate(time.Microsecond), a.now()
	switch {
	case at.After(now):
		return now
	case at.Before(r.AcceptedAt):
		return r.AcceptedAt
	}
	return at
}

// spoolPath is the first rank's spool, whose records are the attempt's telemetry.
func (a *Agent) spoolPath(r record) string { return layout.Spool(a.attemptDir(r.Attempt), 0) }

// verdict is how an attempt ended.
type verdict struct {
	outcome broker.Outcome
	code    string
	exit    int
	at      time.Time
}

// verdict weighs spool and scheduler. It may fence the attempt off: afterwards
// nothing of it can start.
func (a *Agent) verdict(r record, see sight, w watched) (verdict, error) {
	if o := see.scan.outcome; o != nil {
		if v, ok := spoken(*o, w.status.Outcome, r.Stop); ok {
			v.at = a.between(r, v.at)
			return v.held(r.Telemetry), nil
		}
	}
	v := verdict{at: see.goneSince, exit: w.status.ExitCode}
	fenced, err := a.fence(r)
	if err != nil {
		return verdict{}, err
	}
	switch o := w.status.Outcome; {
	case byScheduler(o):
		v.outcome, v.code = o, because(o, r.Stop)
	case fenced && r.Stop:
		v.outcome, v.code = broker.OutcomeCancelled, "cancelled"
	case fenced:
		v.outcome, v.code = broker.OutcomeLaunchFailed, "never_started"
	case see.scan.damaged:
		v.outcome, v.code = broker.OutcomeLost, "spool_damaged"
	default:
		v.outcome, v.code = broker.OutcomeLost, "no_outcome"
	}
	return v.held(r.Telemetry), nil
}

// held takes back what a workload could say by choosing how it fails: an exit
// code or a signal are some bits per attempt, and only full telemetry lets
// words out.
func (v verdict) held(level string) verdict {
	if level == "full" || v.outcome == broker.OutcomeExit && (v.code == broker.CodeCheckpoint || v.code == codeCkptFull) {
		return v // words of ours, one bit per attempt; the exit code is agreed
	}
	if v.exit != 0 {
		v.exit = 1
	}
	if v.outcome == broker.OutcomeExit {
		v.code = codeFailed
	}
	return v
}

// codeCkptFull is the launcher's word for checkpoints beyond what the site keeps.
const codeCkptFull = "ckpt_full"

// codeFailed is all that a workload says of its failure without full telemetry.
const codeFailed = "failed"

// spoken reads the spool's outcome record; false when it names no outcome that
// we know. "cancelled" there means that TERM came: a scheduler that knows why
// is believed over it.
func spoken(rec spool.Record, scheduler broker.Outcome, stopped bool) (verdict, bool) {
	o := broker.Outcome(rec.Outcome)
	if !slices.Contains(broker.Outcomes(), o) {
		return verdict{}, false
	}
	v := verdict{outcome: o, code: plain(rec.Code), exit: rec.ExitCode, at: rec.At}
	switch {
	case o == broker.OutcomeCancelled && byScheduler(scheduler):
		v.outcome, v.code = scheduler, because(scheduler, stopped)
	case v.code == broker.CodeCheckpoint && (stopped || scheduler == broker.OutcomeCancelled):
		// Asked to end, it wrote its checkpoint; it was not to go on.
		v.outcome, v.code = broker.OutcomeCancelled, because(broker.OutcomeCancelled, stopped)
	}
	return v, true
}

// because is the code of an outcome that the scheduler gave. A cancellation
// that nobody ordered here was the site's own.
func because(o broker.Outcome, stopped bool) string {
	if o == broker.OutcomeCancelled && stopped {
		return "cancelled"
	}
	return "scheduler_" + string(o)
}

// plain lets a code through if it is one, and no free text that the owner of a
// spool put in its place.
func plain(code string) string {
	if len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return "unreadable"
	}
	return code
}

// byScheduler reports whether a scheduler knows this outcome better than the
// process that it happened to.
func byScheduler(o broker.Outcome) bool {
	switch o {
	case broker.OutcomeOOM, broker.OutcomeWalltime, broker.OutcomeNodeFail, broker.OutcomePreempted,
		broker.OutcomeCancelled, broker.OutcomeStopped, broker.OutcomeLaunchFailed:
		return true
	case broker.OutcomeOK, broker.OutcomeExit, broker.OutcomeLost:
		return false
	}
	return false
}
