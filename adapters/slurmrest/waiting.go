package slurmrest

import (
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// why says why a job is pending: our code, Slurm's own words, and when Slurm
// expects it to start.
func why(s seen) broker.Waiting {
	return broker.Wait(code(s), because(s), s.expected)
}

// code is total over Slurm's reasons: one that is not known is WaitUnknown.
func code(s seen) broker.WaitCode {
	switch s.reason {
	case "", "None":
		return broker.WaitNotEvaluated
	case "Resources":
		return broker.WaitResources
	case "Priority":
		return broker.WaitPriority
	case "BeginTime":
		return broker.WaitBeginTime
	case "Dependency", "DependencyNeverSatisfied":
		return broker.WaitDependency
	case "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue":
		return broker.WaitHeld
	case "Licenses":
		return broker.WaitLicense
	case "Reservation", "ReservationDeleted", "ReqNodeNotAvail", "Maint":
		return broker.WaitReservation
	case "NodeDown", "PartitionDown", "PartitionInactive":
		return broker.WaitNodeUnavailable
	}
	r := s.reason
	switch {
	case strings.Contains(r, "Minutes") && (strings.HasPrefix(r, "Assoc") || strings.HasPrefix(r, "QOS")):
		return broker.WaitBudgetAtSite
	case strings.HasPrefix(r, "Assoc"), strings.Contains(r, "Account"):
		return broker.WaitLimitAccount
	case strings.HasPrefix(r, "QOS"), strings.HasPrefix(r, "InvalidQOS"):
		return broker.WaitLimitQOS
	case strings.HasPrefix(r, "Partition"):
		return broker.WaitLimitPartition
	}
	return broker.WaitUnknown
}
