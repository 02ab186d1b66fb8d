package slurm

// JobState is one word of a job's state. A job has a list of them: one base
// state and any number of flags, such as CANCELLED with COMPLETING.
type JobState string

// The words of all API versions that are spoken.
const (
	StatePending      JobState = "PENDING"
	StateRunning      JobState = "RUNNING"
	StateSuspended    JobState = "SUSPENDED"
	StateCompleted    JobState = "COMPLETED"
	StateCancelled    JobState = "CANCELLED"
	StateFailed       JobState = "FAILED"
	StateTimeout      JobState = "TIMEOUT"
	StateNodeFail     JobState = "NODE_FAIL"
	StatePreempted    JobState = "PREEMPTED"
	StateBootFail     JobState = "BOOT_FAIL"
	StateDeadline     JobState = "DEADLINE"
	StateOutOfMemory  JobState = "OUT_OF_MEMORY"
	StateLaunchFailed JobState = "LAUNCH_FAILED"
	StateRequeued     JobState = "REQUEUED"
	StateRequeueHold  JobState = "REQUEUE_HOLD"
	StateSpecialExit  JobState = "SPECIAL_EXIT"
	StateResizing     JobState = "RESIZING"
	StateConfiguring  JobState = "CONFIGURING"
	StateCompleting   JobState = "COMPLETING"
	StateStopped      JobState = "STOPPED"
	StateReconfigFail JobState = "RECONFIG_FAIL"
	StatePowerUpNode  JobState = "POWER_UP_NODE"
	StateRevoked      JobState = "REVOKED"
	StateRequeueFed   JobState = "REQUEUE_FED"
	StateResvDelHold  JobState = "RESV_DEL_HOLD"
	StateSignaling    JobState = "SIGNALING"
	StateStageOut     JobState = "STAGE_OUT"
	StateExpediting   JobState = "EXPEDITING" // since v0.0.44
)

// Role says what a word does in a list of states.
type Role string

// The roles of a word.
const (
	// RoleUnknown: a word that this version does not have.
	RoleUnknown Role = "unknown"
	// RoleWaiting, RoleActive and RoleFinal are base states: exactly one of
	// them is in a list.
	RoleWaiting Role = "waiting"
	RoleActive  Role = "active"
	RoleFinal   Role = "final"
	// RoleEnding is a flag: processes or files of the job are still being
	// removed, whatever its base state says.
	RoleEnding Role = "ending"
	// RoleRequeue is a flag: the job went, or goes, back to the queue.
	RoleRequeue Role = "requeue"
	// RoleFlag is a flag that says nothing about an end.
	RoleFlag Role = "flag"
)

// Role is total over the words of the API and RoleUnknown for any other.
func (s JobState) Role() Role {
	switch s {
	case StatePending:
		return RoleWaiting
	case StateRunning, StateSuspended:
		return RoleActive
	case StateCompleted, StateCancelled, StateFailed, StateTimeout, StateNodeFail, StatePreempted,
		StateBootFail, StateDeadline, StateOutOfMemory, StateRevoked:
		return RoleFinal
	case StateCompleting, StateStageOut:
		return RoleEnding
	case StateRequeued, StateRequeueHold, StateRequeueFed, StateSpecialExit, StateLaunchFailed, StateResvDelHold,
		StateExpediting:
		return RoleRequeue
	case StateResizing, StateConfiguring, StateStopped, StateReconfigFail, StatePowerUpNode, StateSignaling:
		return RoleFlag
	}
	return RoleUnknown
}
