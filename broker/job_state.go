package broker

import (
	"fmt"
	"slices"
)

// JobState is where a job stands. The empty string is no state.
type JobState string

// The states of a job.
const (
	JobSubmitted   JobState = "submitted"
	JobNotAdmitted JobState = "not_admitted"
	JobInReview    JobState = "in_review"
	JobAdmitted    JobState = "admitted"
	JobActive      JobState = "active"
	JobSucceeded   JobState = "succeeded"
	JobFailed      JobState = "failed"
	JobCancelled   JobState = "cancelled"
	JobStopped     JobState = "stopped"
)

// JobStates lists every state in the order of a job's life.
func JobStates() []JobState {
	return []JobState{
		JobSubmitted, JobNotAdmitted, JobInReview, JobAdmitted, JobActive,
		JobSucceeded, JobFailed, JobCancelled, JobStopped,
	}
}

// next is the only description of a job's life; no default, so that the
// exhaustive linter rejects a forgotten state.
func (s JobState) next() []JobState {
	switch s {
	case JobSubmitted:
		return []JobState{JobNotAdmitted, JobInReview, JobAdmitted, JobCancelled, JobStopped}
	case JobInReview:
		return []JobState{JobAdmitted, JobNotAdmitted, JobCancelled, JobStopped}
	case JobAdmitted:
		return []JobState{JobActive, JobNotAdmitted, JobCancelled, JobStopped}
	case JobActive:
		return []JobState{JobSucceeded, JobFailed, JobCancelled, JobStopped}
	case JobNotAdmitted, JobSucceeded, JobFailed, JobCancelled, JobStopped:
		return nil
	}
	return nil
}

// Next lists the states that may follow s.
func (s JobState) Next() []JobState { return s.next() }

// Terminal reports whether nothing may follow s.
func (s JobState) Terminal() bool { return len(s.next()) == 0 }

// To returns a *TransitionError unless to may follow s.
func (s JobState) To(to JobState) error {
	if slices.Contains(s.next(), to) {
		return nil
	}
	return &TransitionError{From: string(s), To: string(to)}
}

// TransitionError is an attempt to move a state machine along an edge it does
// not have: a programmer's error or a lost race, never the caller's input.
type TransitionError struct{ From, To string }

func (e *TransitionError) Error() string {
	return fmt.Sprintf("state %q may not become %q", e.From, e.To)
}
