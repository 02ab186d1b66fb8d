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

// code says what a blocked evaluation waits for: what is exhausted is in use,
// what is filtered is not there.
func code(e *api.Evaluation) broker.WaitCode {
	m := e.FailedTGAllocs[groupName]
	switch {
	case m == nil:
		return broker.WaitUnknown
	case len(m.QuotaExhausted) > 0:
		return broker.WaitLimitAccount
	case len(m.DimensionExhausted) > 0:
		return broker.WaitResources
	case m.ConstraintFiltered["missing devices"] > 0:
		return broker.WaitGPUsUnavailable
	case m.NodesEvaluated == 0, len(m.ConstraintFiltered) > 0:
		return broker.WaitNodeUnavailable
	}
	return broker.WaitUnknown
}

// blocked reads the metrics of a placement that failed.
func blocked(e *api.Evaluation) string {
	m := e.FailedTGAllocs[groupName]
	if m == nil {
		return e.StatusDescription
	}
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
	if len(words) == 0 {
		if m.NodesEvaluated == 0 {
			return "no node is eligible"
		}
		return e.StatusDescription
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
		if m := e.FailedTGAllocs[groupName]; e.Status == api.EvalStatusBlocked && m != nil && m.ConstraintFiltered["missing devices"] > 0 {
			return true
		}
	}
	return false
}
