package broker

import (
	"slices"
	"time"
)

// Resume lets a job go on in further attempts, its segments, from what it wrote
// to /ckpt. The zero value means one segment.
type Resume struct {
	Signal      string        // sent to the job's first process; one of ResumeSignals
	Before      time.Duration // how long before the walltime it is sent
	MaxSegments int           // attempts in all, the first included
}

// Bounds of a Resume.
const (
	MinResumeBefore = time.Second
	MinSegments     = 2
	MaxSegments     = 100
)

// ResumeExit is the exit status by which a workload says that it wrote its
// checkpoint and has more to do. It is within the range that shells and
// sysexits.h leave alone.
const ResumeExit = 85

// CodeCheckpoint is the code of an attempt that ended with ResumeExit.
const CodeCheckpoint = "checkpoint_written"

// CodeSegments is the code of a job that would go on, in its last segment.
const CodeSegments = "segments_used_up"

// ResumeSignals lists the signals that a job may ask for.
func ResumeSignals() []string { return []string{"HUP", "INT", "TERM", "USR1", "USR2"} }

// Set reports whether the job may have more than one segment.
func (r Resume) Set() bool { return r != Resume{} }

// Segments is the number of attempts that the job may have.
func (r Resume) Segments() int {
	if !r.Set() {
		return 1
	}
	return r.MaxSegments
}

// Valid reports whether r is zero, or a signal, a time that lies within the
// walltime and a number within the bounds.
func (r Resume) Valid(walltime time.Duration) bool {
	return !r.Set() || slices.Contains(ResumeSignals(), r.Signal) && r.Before >= MinResumeBefore && r.Before < walltime &&
		r.Before%time.Second == 0 && r.MaxSegments >= MinSegments && r.MaxSegments <= MaxSegments
}

// GoesOn reports whether an attempt that ended so leaves more to do: its
// workload said so, its time was over, or the scheduler took its nodes. A node
// that failed is no such end, because what ran there may write to /ckpt still.
func (r Resume) GoesOn(o Outcome, code string) bool {
	if !r.Set() {
		return false
	}
	switch o {
	case OutcomeWalltime, OutcomePreempted:
		return true
	case OutcomeExit:
		return code == CodeCheckpoint
	case OutcomeOK, OutcomeOOM, OutcomeNodeFail, OutcomeLaunchFailed, OutcomeCancelled, OutcomeStopped, OutcomeLost:
		return false
	}
	return false
}
