package nomad

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/broker"
)

// waiting says why a launch is queued: our code and Nomad's own words. Nomad
// estimates no start.
func waiting(s seen) broker.Waiting {
	if a := s.first(); a != nil {
		for _, st := range a.TaskStates {
			if n := len(st.Events); n > 0 && st.Events[n-1].DisplayMessage != "" {
				return broker.Wait(broker.WaitStarting, "placed: "+st.Events[n-1].DisplayMessage, time.Time{})
			}
		}
		return broker.Wait(broker.WaitStarting, "placed, not started yet", time.Time{})
	}
	for _, e := range s.evals {
		if e.Status == api.EvalStatusBlocked {
			return broker.Wait(code(e), "blocked: "+blocked(e), time.Time{})
		}
	}
	if len(s.evals) > 0 {
		return broker.Wait(broker.WaitNotEvaluated, "evaluation pending", time.Time{})
	}
	return broker.Wait(broker.WaitNotEvaluated, "waiting for an evaluation", time.Time{})
}

// What Nomad calls its reasons.
const (
	missingGPUs = "missing devices"
	conflicts   = "max-plan-attempts" // an evaluation whose plan lost against others
)

// code says what a blocked evaluation waits for: what is exhausted is in use,
// what is filtered is not there. It is total.
func code(e *api.Evaluation) broker.WaitCode {
	m := e.FailedTGAllocs[groupName]
	switch {
	case len(e.QuotaLimitReached) > 0, m != nil && len(m.QuotaExhausted) > 0:
		return broker.WaitLimitAccount
	case m == nil && e.TriggeredBy == conflicts:
		return broker.WaitPriority
	case m == nil:
		return broker.WaitUnknown
	case m.ConstraintFiltered[heldNode] > 0:
		return broker.WaitHeld
	case m.NodesExhausted > 0, len(m.DimensionExhausted) > 0, len(m.ClassExhausted) > 0:
		return broker.WaitResources
	case m.ConstraintFiltered[missingGPUs] > 0:
		return broker.WaitGPUsUnavailable
	case m.NodesFiltered > 0, len(m.ConstraintFiltered) > 0, len(m.ClassFiltered) > 0, m.NodesEvaluated == 0:
		return broker.WaitNodeUnavailable
	}
	return broker.WaitUnknown
}

// blocked reads the metrics of a placement that failed.
func blocked(e *api.Evaluation) string {
	if m := e.FailedTGAllocs[groupName]; m != nil {
		if words := metrics(m); words != "" {
			return words
		}
	}
	return e.StatusDescription
}

// metrics says what a placement lacked, "" when it does not say.
func metrics(m *api.AllocationMetric) string {
	var words []string
	say := func(what string, by map[string]int) {
		for _, k := range slices.Sorted(maps.Keys(by)) {
			words = append(words, fmt.Sprintf("%s on %s %s", k, nodes(by[k]), what))
		}
	}
	say("filtered", m.ConstraintFiltered)
	say("exhausted", m.DimensionExhausted)
	if len(m.QuotaExhausted) > 0 {
		words = append(words, "quota exhausted: "+strings.Join(m.QuotaExhausted, ", "))
	}
	if len(words) == 0 && m.NodesEvaluated == 0 {
		return "no node is eligible"
	}
	return strings.Join(words, "; ")
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// missingDevices reports whether a launch waits for GPUs that no node had when
// it was looked at. Nomad does not look again by itself when they heal.
func missingDevices(s seen) bool {
	for _, e := range s.evals {
		if m := e.FailedTGAllocs[groupName]; e.Status == api.EvalStatusBlocked && m != nil && m.ConstraintFiltered[missingGPUs] > 0 {
			return true
		}
	}
	return false
}
