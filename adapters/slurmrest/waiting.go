package slurmrest

import (
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// why says why a job is pending: our code, Slurm's own words, and when Slurm
// expects it to start.
func why(s seen) broker.Waiting {
	return broker.Wait(causeOf(s.reason).code, because(s), s.expected)
}

// cause is what one of Slurm's reasons means for a job that is pending.
type cause struct {
	code broker.WaitCode
	// never: as it was submitted it will not start, however long it waits.
	never bool
}

// causeOf is total: a reason that is not known is WaitUnknown and watched on.
func causeOf(reason string) cause {
	reason, _, _ = strings.Cut(reason, ",") // "ReqNodeNotAvail, UnavailableNodes:n1"
	if c, ok := word(reason); ok {
		return c
	}
	return limit(reason)
}

// word knows the reasons that are not limits.
func word(reason string) (cause, bool) {
	c := func(code broker.WaitCode) (cause, bool) { return cause{code: code}, true }
	never := func(code broker.WaitCode) (cause, bool) { return cause{code: code, never: true}, true }
	switch reason {
	case "", "None", "SchedDefer", "FedJobLock":
		return c(broker.WaitNotEvaluated)
	case "NonZeroExitCode", "RaisedSignal", "OutOfMemory", "TimeLimit":
		return c(broker.WaitNotEvaluated) // left from an earlier end: nothing has looked at it since
	case "Resources", "BurstBufferResources":
		return c(broker.WaitResources)
	case "Priority":
		return c(broker.WaitPriority)
	case "BeginTime":
		return c(broker.WaitBeginTime)
	case "DeadLine":
		return never(broker.WaitBeginTime)
	case "Dependency", "JobArrayTaskLimit":
		return c(broker.WaitDependency)
	case "DependencyNeverSatisfied":
		return never(broker.WaitDependency)
	case "JobHeldUser", "JobHeldAdmin", "BurstBufferOperation":
		return c(broker.WaitHeld)
	case "JobHoldMaxRequeue", "JobLaunchFailure":
		return never(broker.WaitHeld)
	case "Licenses":
		return c(broker.WaitLicense)
	case "Reservation":
		return c(broker.WaitReservation)
	case "ReservationDeleted", "ReservationInvalid":
		return never(broker.WaitReservation)
	case "NodeDown", "FrontEndDown", "ReqNodeNotAvail", "SystemFailure":
		return c(broker.WaitNodeUnavailable)
	case "BadConstraints":
		return never(broker.WaitNodeUnavailable)
	case "Prolog", "Cleaning", "BurstBufferStageIn":
		return c(broker.WaitStarting)
	case "PartitionDown", "PartitionInactive":
		return c(broker.WaitLimitPartition)
	case "PartitionNodeLimit", "PartitionTimeLimit", "PartitionConfig":
		return never(broker.WaitLimitPartition)
	case "InvalidAccount", "AccountNotAllowed":
		return never(broker.WaitLimitAccount)
	case "AccountingPolicy", "AssociationJobLimit", "AssociationResourceLimit", "AssociationTimeLimit":
		return c(broker.WaitLimitAccount)
	case "InvalidQOS", "QOSNotAllowed":
		return never(broker.WaitLimitQOS)
	case "QOSJobLimit", "QOSResourceLimit", "QOSTimeLimit", "QOSUsageThreshold", "MaxMemPerLimit":
		return c(broker.WaitLimitQOS)
	}
	return cause{}, false
}

// limit reads the names of limits, which Slurm makes of parts:
//
//	Assoc|QOS  Grp|Max|Min  RESOURCE  Minutes|RunMinutes|""  PerJob|PerNode|PerUser|""  Limit|""
//	Max        RESOURCE  RunMins|""  PerAccount|PerUser      of a quality of service
//
// What Grp…Minutes and GrpWall count has been used up and does not come back.
// What one job may have at most, or at least, this job will never keep.
func limit(reason string) cause {
	if strings.HasPrefix(reason, "Max") && (strings.HasSuffix(reason, "PerAccount") || strings.HasSuffix(reason, "PerUser")) {
		return cause{code: broker.WaitLimitQOS}
	}
	code := broker.WaitLimitAccount
	rest, ok := strings.CutPrefix(reason, "Assoc")
	if !ok {
		code = broker.WaitLimitQOS
		if rest, ok = strings.CutPrefix(reason, "QOS"); !ok {
			return cause{code: broker.WaitUnknown}
		}
	}
	rest = strings.TrimSuffix(rest, "Limit")
	group, most, least := strings.HasPrefix(rest, "Grp"), strings.HasPrefix(rest, "Max"), strings.HasPrefix(rest, "Min")
	switch {
	case group && (strings.HasSuffix(rest, "Minutes") && !strings.HasSuffix(rest, "RunMinutes") || rest == "GrpWall"):
		return cause{code: broker.WaitBudgetAtSite, never: true}
	case group:
		return cause{code: code}
	case most:
		return cause{code: code, never: strings.HasSuffix(rest, "PerJob") || strings.HasSuffix(rest, "PerNode")}
	case least:
		return cause{code: code, never: true}
	}
	return cause{code: broker.WaitUnknown}
}
