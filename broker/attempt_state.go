package broker

import "slices"

// AttemptState is where one execution of a job stands.
type AttemptState string

// The states of an attempt. Submitting means: the request was sent and its
// answer is unknown.
const (
	AttemptPackaging  AttemptState = "packaging"
	AttemptClearing   AttemptState = "clearing"
	AttemptRefused    AttemptState = "refused"
	AttemptReady      AttemptState = "ready"
	AttemptSubmitting AttemptState = "submitting"
	AttemptQueued     AttemptState = "queued"
	AttemptStarting   AttemptState = "starting"
	AttemptRunning    AttemptState = "running"
	AttemptSealing    AttemptState = "sealing"
	AttemptDone       AttemptState = "done"
)

// AttemptStates lists every state in the order of an attempt's life.
func AttemptStates() []AttemptState {
	return []AttemptState{
		AttemptPackaging, AttemptClearing, AttemptRefused, AttemptReady, AttemptSubmitting,
		AttemptQueued, AttemptStarting, AttemptRunning, AttemptSealing, AttemptDone,
	}
}

// next is the only description of an attempt's life. States that a poll may
// step over (a job that was queued and is already running) have direct edges.
func (s AttemptState) next() []AttemptState {
	switch s {
	case AttemptPackaging:
		return []AttemptState{AttemptClearing, AttemptDone}
	case AttemptClearing:
		return []AttemptState{AttemptRefused, AttemptReady, AttemptDone}
	case AttemptReady:
		return []AttemptState{AttemptSubmitting, AttemptDone}
	case AttemptSubmitting:
		return []AttemptState{AttemptQueued, AttemptStarting, AttemptRunning, AttemptSealing, AttemptDone}
	case AttemptQueued:
		return []AttemptState{AttemptStarting, AttemptRunning, AttemptSealing, AttemptDone}
	case AttemptStarting:
		return []AttemptState{AttemptQueued, AttemptRunning, AttemptSealing, AttemptDone}
	case AttemptRunning:
		return []AttemptState{AttemptSealing, AttemptDone}
	case AttemptSealing:
		return []AttemptState{AttemptDone}
	case AttemptRefused, AttemptDone:
		return nil
	}
	return nil
}

// Next lists the states that may follow s.
func (s AttemptState) Next() []AttemptState { return s.next() }

// Terminal reports whether nothing may follow s.
func (s AttemptState) Terminal() bool { return len(s.next()) == 0 }

// To returns a *TransitionError unless to may follow s.
func (s AttemptState) To(to AttemptState) error {
	if slices.Contains(s.next(), to) {
		return nil
	}
	return &TransitionError{From: string(s), To: string(to)}
}

// Submitted reports whether a scheduler may know of the attempt: the request
// may have been sent.
func (s AttemptState) Submitted() bool {
	switch s {
	case AttemptSubmitting, AttemptQueued, AttemptStarting, AttemptRunning, AttemptSealing:
		return true
	case AttemptPackaging, AttemptClearing, AttemptRefused, AttemptReady, AttemptDone:
		return false
	}
	return false
}

// Outcome says how an attempt ended; "" while it has not.
type Outcome string

// The outcomes of an attempt.
const (
	// OutcomeOK: exit code 0.
	OutcomeOK Outcome = "ok"
	// OutcomeExit: the workload ended with another exit code or a signal.
	OutcomeExit Outcome = "exit"
	// OutcomeOOM: killed for memory.
	OutcomeOOM Outcome = "oom"
	// OutcomeWalltime: killed at its time limit.
	OutcomeWalltime Outcome = "walltime"
	// OutcomeNodeFail: the node died under it.
	OutcomeNodeFail Outcome = "node_fail"
	// OutcomePreempted: the scheduler took the node for other work.
	OutcomePreempted Outcome = "preempted"
	// OutcomeLaunchFailed: it never started; Attempt.Code says why.
	OutcomeLaunchFailed Outcome = "launch_failed"
	// OutcomeCancelled: a person cancelled it.
	OutcomeCancelled Outcome = "cancelled"
	// OutcomeStopped: a stop order ended it.
	OutcomeStopped Outcome = "stopped"
	// OutcomeLost: what became of it cannot be known; it is never run again.
	OutcomeLost Outcome = "lost"
)

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeOK, OutcomeExit, OutcomeOOM, OutcomeWalltime, OutcomeNodeFail,
		OutcomePreempted, OutcomeLaunchFailed, OutcomeCancelled, OutcomeStopped, OutcomeLost,
	}
}

// JobState is the final state of a job whose only attempt ended like this.
func (o Outcome) JobState() JobState {
	switch o {
	case OutcomeOK:
		return JobSucceeded
	case OutcomeCancelled:
		return JobCancelled
	case OutcomeStopped:
		return JobStopped
	case OutcomeExit, OutcomeOOM, OutcomeWalltime, OutcomeNodeFail,
		OutcomePreempted, OutcomeLaunchFailed, OutcomeLost:
		return JobFailed
	}
	return JobFailed
}
