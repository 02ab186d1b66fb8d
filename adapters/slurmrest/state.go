package slurmrest

import (
	"slices"
	"strings"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// seen is what slurmctld or the database says of a job.
type seen struct {
	states              []slurm.JobState
	reason, description string
	exit                slurm.ExitCode
	started             bool
	expected            time.Time // to start, while pending; zero when slurmctld does not say
	restarts            int64     // how often it was put back into the queue
	unrun               bool      // Slurm took it off its node, nobody here did, and no program of it ended
}

// base returns the role of the one base state of a list, or RoleUnknown when a
// word is unknown or the base state is not exactly one.
func base(states []slurm.JobState) slurm.Role {
	role := slurm.RoleUnknown
	for _, s := range states {
		switch r := s.Role(); r {
		case slurm.RoleUnknown:
			return slurm.RoleUnknown
		case slurm.RoleWaiting, slurm.RoleActive, slurm.RoleFinal:
			if role != slurm.RoleUnknown {
				return slurm.RoleUnknown
			}
			role = r
		case slurm.RoleEnding, slurm.RoleRequeue, slurm.RoleFlag:
		}
	}
	return role
}

func hasRole(states []slurm.JobState, r slurm.Role) bool {
	for _, s := range states {
		if s.Role() == r {
			return true
		}
	}
	return false
}

// state is total: it translates every list of words, known or not.
func state(s seen) (agent.SchedulerState, broker.Outcome) {
	switch base(s.states) {
	case slurm.RoleUnknown, slurm.RoleEnding, slurm.RoleRequeue, slurm.RoleFlag:
		return agent.SchedulerUnknown, ""
	case slurm.RoleWaiting:
		if stuck(s) {
			return agent.SchedulerEnded, broker.OutcomeLaunchFailed
		}
		switch {
		case s.restarts > 0 && hasRole(s.states, slurm.RoleEnding):
			return agent.SchedulerEnding, ""
		case s.restarts > 0:
			return agent.SchedulerEnded, broker.OutcomePreempted // its node was taken, and it may not start again
		}
		return agent.SchedulerQueued, ""
	case slurm.RoleActive:
		switch {
		case hasRole(s.states, slurm.RoleEnding), s.restarts > 0: // a second start is ended
			return agent.SchedulerEnding, ""
		case has(s.states, slurm.StateConfiguring), has(s.states, slurm.StatePowerUpNode):
			return agent.SchedulerQueued, "" // its nodes are starting; nothing of it runs
		}
		return agent.SchedulerRunning, ""
	case slurm.RoleFinal:
		if hasRole(s.states, slurm.RoleEnding) {
			return agent.SchedulerEnding, ""
		}
		return agent.SchedulerEnded, outcome(s)
	}
	return agent.SchedulerUnknown, ""
}

func has(states []slurm.JobState, w slurm.JobState) bool { return slices.Contains(states, w) }

// outcome translates the final base state.
func outcome(s seen) broker.Outcome {
	for _, w := range s.states {
		switch w {
		case slurm.StateCompleted:
			return broker.OutcomeOK
		case slurm.StateFailed:
			if s.reason == "JobLaunchFailure" || s.reason == "BadConstraints" || s.reason == "Prolog" || !s.started {
				return broker.OutcomeLaunchFailed
			}
			return broker.OutcomeExit
		case slurm.StateCancelled:
			switch {
			case s.restarts > 0:
				return broker.OutcomePreempted
			case s.unrun: // such as by a prolog; a job that may requeue is held instead
				return broker.OutcomeLaunchFailed
			}
			return broker.OutcomeCancelled
		case slurm.StateTimeout:
			return broker.OutcomeWalltime
		case slurm.StateDeadline:
			if !s.started {
				return broker.OutcomeLaunchFailed
			}
			return broker.OutcomeWalltime
		case slurm.StateNodeFail, slurm.StateBootFail:
			return broker.OutcomeNodeFail
		case slurm.StatePreempted:
			return broker.OutcomePreempted
		case slurm.StateOutOfMemory:
			return broker.OutcomeOOM
		case slurm.StateRevoked:
			return broker.OutcomeLaunchFailed // another cluster of a federation took it
		case slurm.StatePending, slurm.StateRunning, slurm.StateSuspended, slurm.StateLaunchFailed, slurm.StateRequeued,
			slurm.StateRequeueHold, slurm.StateSpecialExit, slurm.StateResizing, slurm.StateConfiguring, slurm.StateCompleting,
			slurm.StateStopped, slurm.StateReconfigFail, slurm.StatePowerUpNode, slurm.StateRequeueFed, slurm.StateResvDelHold,
			slurm.StateSignaling, slurm.StateStageOut, slurm.StateExpediting:
		}
	}
	return broker.OutcomeLost
}

// stuck reports whether a pending job can never start as it was submitted, or
// was thrown back by a failed launch: it would wait for ever, or start when
// nobody expects it.
func stuck(s seen) bool {
	if strings.Contains(strings.ToLower(s.description), "launch failed") || has(s.states, slurm.StateLaunchFailed) ||
		has(s.states, slurm.StateRequeueHold) || has(s.states, slurm.StateSpecialExit) {
		return true
	}
	return causeOf(s.reason).never
}

// exitCode is the exit code, or 128 and the signal as shells write it.
func exitCode(e slurm.ExitCode) int {
	if n, ok := e.Signal.Value(); ok && n > 0 && n < 128 {
		return 128 + int(n)
	}
	if n, ok := e.Code.Value(); ok && n >= 0 && n < 1<<31 {
		return int(n)
	}
	return 0
}

// status is how a launch stands.
func status(j *job, s seen, granted int) agent.Status {
	st := agent.Status{Name: j.key.name, Handle: j.id.String(), Granted: granted}
	st.State, st.Outcome = state(s)
	switch st.State {
	case agent.SchedulerEnded:
		st.ExitCode = exitCode(s.exit)
		if base(s.states) == slurm.RoleWaiting {
			st.Waiting, st.ExitCode = why(s), 0
		}
	case agent.SchedulerQueued:
		st.Waiting = why(s)
		if base(s.states) == slurm.RoleActive {
			st.Waiting.Code = broker.WaitStarting
		}
	case agent.SchedulerUnknown, agent.SchedulerRunning, agent.SchedulerEnding, agent.SchedulerGone:
	}
	return st
}

func because(s seen) string {
	if s.description != "" && s.description != s.reason {
		return strings.TrimPrefix(s.reason+": "+s.description, ": ")
	}
	if s.reason == "None" {
		return ""
	}
	return s.reason
}
