package nomad

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// Words of Nomad that its client library has no names for.
const (
	jobPending, jobRunning, jobDead = "pending", "running", "dead"
	migrated                        = "alloc is being migrated"
)

// seen is all that Nomad says of one launch.
type seen struct {
	stopped bool   // somebody deregistered it
	status  string // of the job
	allocs  []*api.AllocationListStub
	evals   []*api.Evaluation // pending and blocked ones
}

// first is the launch's one start. What stands behind it is a replacement that
// nobody asked for.
func (s seen) first() *api.AllocationListStub {
	if len(s.allocs) == 0 {
		return nil
	}
	return slices.MinFunc(s.allocs, func(a, b *api.AllocationListStub) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) })
}

// allocState is total over the client status of an allocation.
func allocState(a *api.AllocationListStub) agent.SchedulerState {
	leaving, known := desired(a.DesiredStatus)
	if !known {
		return agent.SchedulerUnknown
	}
	switch a.ClientStatus {
	case api.AllocClientStatusPending:
		if leaving {
			return agent.SchedulerEnding
		}
		return agent.SchedulerQueued
	case api.AllocClientStatusRunning:
		if leaving {
			return agent.SchedulerEnding
		}
		return agent.SchedulerRunning
	case api.AllocClientStatusComplete, api.AllocClientStatusFailed, api.AllocClientStatusLost:
		return agent.SchedulerEnded
	case api.AllocClientStatusUnknown:
		return agent.SchedulerUnknown // its node is out of reach: watched on
	}
	return agent.SchedulerUnknown
}

// desired is total over the desired status of an allocation.
func desired(status string) (leaving, known bool) {
	switch status {
	case api.AllocDesiredStatusRun:
		return false, true
	case api.AllocDesiredStatusStop, api.AllocDesiredStatusEvict:
		return true, true
	}
	return false, false
}

// evalKnown is total over the status of an evaluation. What each means is said
// where it counts: pending may still place or stop something, blocked waits.
func evalKnown(status string) bool {
	switch status {
	case api.EvalStatusPending, api.EvalStatusBlocked, api.EvalStatusComplete, api.EvalStatusFailed, api.EvalStatusCancelled:
		return true
	}
	return false
}

// state is total: it translates every combination of words, known or not.
func state(s seen) agent.SchedulerState {
	a := s.first()
	if a == nil {
		return unplaced(s)
	}
	st := allocState(a)
	if st != agent.SchedulerEnded {
		return st
	}
	for _, other := range s.allocs {
		if allocState(other) != agent.SchedulerEnded {
			return agent.SchedulerEnding // a replacement is there until it is stopped
		}
	}
	if replaceable(s) && (!s.stopped || s.pending()) {
		return agent.SchedulerEnding // a replacement could still come
	}
	return agent.SchedulerEnded
}

// replaceable reports whether Nomad starts a launch once more, though it allows
// no restart and no rescheduling: its allocation was lost, preempted, drained,
// stopped by itself, or its task was restarted by an operator.
func replaceable(s seen) bool {
	a := s.first()
	leaving, _ := desired(a.DesiredStatus)
	return leaving || a.ClientStatus == api.AllocClientStatusLost || len(s.allocs) > 1 || restarted(a)
}

// restarted reports whether somebody made Nomad restart a task where it was. No
// job allows it; an operator may still force it.
func restarted(a *api.AllocationListStub) bool {
	t := a.TaskStates[taskName]
	return t != nil && (t.Restarts > 0 || slices.ContainsFunc(t.Events, func(e *api.TaskEvent) bool {
		return e.Type == api.TaskRestarting || e.Type == api.TaskRestartSignal
	}))
}

// pending reports whether an evaluation is under way.
func (s seen) pending() bool {
	return slices.ContainsFunc(s.evals, func(e *api.Evaluation) bool { return e.Status == api.EvalStatusPending })
}

// unplaced is how a job without allocations stands.
func unplaced(s seen) agent.SchedulerState {
	for _, e := range s.evals {
		if !evalKnown(e.Status) {
			return agent.SchedulerUnknown
		}
	}
	switch s.status {
	case jobPending, jobRunning, jobDead:
	default:
		return agent.SchedulerUnknown
	}
	switch {
	case s.stopped && s.pending():
		return agent.SchedulerEnding // an evaluation under way may still place it, and the next one ends it
	case s.stopped:
		return agent.SchedulerEnded
	case s.status == jobDead && len(s.evals) == 0:
		return agent.SchedulerGone // it ended and its allocation was cleared away
	}
	return agent.SchedulerQueued
}

// outcome is how an ended launch ended. limit is when its adapter ends it.
func outcome(s seen, gpus int, limit time.Duration) (broker.Outcome, int) {
	a := s.first()
	if a == nil {
		return broker.OutcomeCancelled, 0
	}
	if got := granted(a); got >= 0 && got < gpus {
		return broker.OutcomeLaunchFailed, 0
	}
	if a.ClientStatus == api.AllocClientStatusLost {
		return broker.OutcomeNodeFail, 0
	}
	if restarted(a) {
		return broker.OutcomePreempted, 0 // its one start was taken from it
	}
	t := a.TaskStates[taskName]
	if t == nil {
		if leaving, _ := desired(a.DesiredStatus); leaving {
			return taken(a, 0, limit), 0
		}
		return broker.OutcomeLaunchFailed, 0
	}
	e := read(t)
	switch {
	case e.oom:
		return broker.OutcomeOOM, e.exit
	case e.killed:
		return taken(a, ran(t), limit), e.exit
	case !e.started && t.StartedAt.IsZero():
		return broker.OutcomeLaunchFailed, 0
	case !e.terminated && t.Failed:
		return broker.OutcomeLaunchFailed, 0
	case !e.terminated:
		return broker.OutcomeLost, 0
	case e.exit == 0 && !t.Failed:
		return broker.OutcomeOK, 0
	}
	return broker.OutcomeExit, e.exit
}

// taken is the outcome of a launch that was killed.
func taken(a *api.AllocationListStub, d, limit time.Duration) broker.Outcome {
	switch {
	case a.DesiredStatus == api.AllocDesiredStatusEvict || a.PreemptedByAllocation != "":
		return broker.OutcomePreempted
	case a.DesiredDescription == migrated:
		return broker.OutcomePreempted // its node was drained
	case d >= limit:
		return broker.OutcomeWalltime
	}
	return broker.OutcomeCancelled
}

// events is what a task's events say.
type events struct {
	started, terminated, killed, oom bool
	exit                             int
}

// read takes from a task's events what decides; it is total over their types.
// Nomad keeps the last ten, a launch without restarts has at most nine.
func read(t *api.TaskState) events {
	var e events
	for _, ev := range t.Events {
		switch ev.Type {
		case api.TaskStarted:
			e.started = true
		case api.TaskKilling, api.TaskKilled:
			e.killed = e.killed || !e.terminated // after its own end nobody killed it
		case api.TaskTerminated:
			e.terminated = true
			e.oom = ev.Details["oom_killed"] == "true"
			e.exit = exitCode(ev.Details["exit_code"], ev.Details["signal"])
		case api.TaskSetup, api.TaskSetupFailure, api.TaskDriverFailure, api.TaskDriverMessage, api.TaskReceived,
			api.TaskFailedValidation, api.TaskRestarting, api.TaskNotRestarting, api.TaskDownloadingArtifacts,
			api.TaskArtifactDownloadFailed, api.TaskSiblingFailed, api.TaskSignaling, api.TaskRestartSignal,
			api.TaskLeaderDead, api.TaskBuildingTaskDir, api.TaskClientReconnected:
		}
	}
	return e
}

// exitCode is the exit code, or 128 and the signal as shells write it.
func exitCode(code, signal string) int {
	if n, err := strconv.Atoi(code); err == nil && n != 0 {
		return n
	}
	if n, err := strconv.Atoi(signal); err == nil && n > 0 && n < 128 {
		return 128 + n
	}
	return 0
}

// ran is how long a task ran.
func ran(t *api.TaskState) time.Duration {
	if t.StartedAt.IsZero() || t.FinishedAt.Before(t.StartedAt) {
		return 0
	}
	return t.FinishedAt.Sub(t.StartedAt)
}

// granted counts an allocation's devices, -1 when it does not say.
func granted(a *api.AllocationListStub) int {
	if a == nil || a.AllocatedResources == nil {
		return -1
	}
	n := 0
	for _, t := range a.AllocatedResources.Tasks {
		for _, d := range t.Devices {
			if d.Type == anyGPU {
				n += len(d.DeviceIDs)
			}
		}
	}
	return n
}
