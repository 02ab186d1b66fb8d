package nomad

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// waiting says in Nomad's own words why a launch is queued.
func waiting(s seen) string {
	if a := s.first(); a != nil {
		for _, st := range a.TaskStates {
			if n := len(st.Events); n > 0 && st.Events[n-1].DisplayMessage != "" {
				return "placed: " + st.Events[n-1].DisplayMessage
			}
		}
		return "placed, not started yet"
	}
	for _, e := range s.evals {
		if e.Status == api.EvalStatusBlocked {
			return "blocked: " + blocked(e)
		}
	}
	if len(s.evals) > 0 {
		return "evaluation pending"
	}
	return "waiting for an evaluation"
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
