package agent

import (
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// joined is what the spools of all ranks say together. It began with the first
// of them. A rank that failed decides, the earliest of several: the others were
// ended because of it. Without a failure every rank has to have said how it ended.
func joined(rs []scan) scan {
	all := scan{}
	var failed, cancelled, more, ok *spool.Record
	missing := false
	for _, r := range rs {
		if !r.started.IsZero() && (all.started.IsZero() || r.started.Before(all.started)) {
			all.started = r.started
		}
		all.damaged = all.damaged || r.damaged
		switch o := r.outcome; {
		case o == nil:
			missing = true
		case o.Outcome == string(broker.OutcomeOK):
			ok = o
		case o.Outcome == string(broker.OutcomeExit) && o.Code == broker.CodeCheckpoint:
			more = o
		case o.Outcome == string(broker.OutcomeCancelled):
			cancelled = o
		case failed == nil || o.At.Before(failed.At):
			failed = o
		}
	}
	for _, o := range []*spool.Record{failed, cancelled, more, ok} {
		if o == nil || missing && o != failed {
			continue
		}
		last := *o
		for _, r := range rs {
			if r.outcome != nil {
				last.ElapsedSeconds = max(last.ElapsedSeconds, r.outcome.ElapsedSeconds)
			}
		}
		all.outcome = &last
		break
	}
	return all
}
