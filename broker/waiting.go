package broker

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// WaitCode says in our words why something has not begun. Its words, remedy
// and who helps live in message catalogues.
type WaitCode string

// What a job waits for at a site, as its scheduler says it, and at the broker.
const (
	// WaitResources: nothing free that is large enough.
	WaitResources WaitCode = "resources"
	// WaitPriority: others come first.
	WaitPriority WaitCode = "priority"
	// WaitReservation: nodes are kept for a reservation or for maintenance.
	WaitReservation WaitCode = "reservation"
	// WaitNodeUnavailable: the nodes that fit are down, drained or starting.
	WaitNodeUnavailable WaitCode = "node_unavailable"
	// WaitBeginTime: it may not begin before a moment.
	WaitBeginTime WaitCode = "begin_time"
	// WaitDependency: another job has to end first.
	WaitDependency WaitCode = "dependency"
	// WaitHeld: somebody holds it.
	WaitHeld WaitCode = "held"
	// WaitLimitAccount: the account or association is at a limit.
	WaitLimitAccount WaitCode = "limit_account"
	// WaitLimitQOS: the quality of service is at a limit.
	WaitLimitQOS WaitCode = "limit_qos"
	// WaitLimitPartition: the partition or pool is at a limit, or closed.
	WaitLimitPartition WaitCode = "limit_partition"
	// WaitLicense: a licence is in use.
	WaitLicense WaitCode = "license"
	// WaitGPUsUnavailable: no node offers the GPUs now.
	WaitGPUsUnavailable WaitCode = "gpus_unavailable"
	// WaitBudgetAtSite: the site's own accounting has no time left for it.
	WaitBudgetAtSite WaitCode = "budget_at_site"
	// WaitStarting: it is placed, and its nodes are being prepared.
	WaitStarting WaitCode = "starting"
	// WaitNotEvaluated: the scheduler has not looked at it yet.
	WaitNotEvaluated WaitCode = "not_evaluated"
	// WaitSchedulerUnreachable: the site's scheduler does not answer its agent.
	WaitSchedulerUnreachable WaitCode = "scheduler_unreachable"
	// WaitStaging: the site has the order and prepares what it needs.
	WaitStaging WaitCode = "staging"

	// WaitReview: a person has to decide.
	WaitReview WaitCode = "review"
	// WaitPackaging: the image is being assembled and signed.
	WaitPackaging WaitCode = "packaging"
	// WaitClearing: the last check before it may run is under way.
	WaitClearing WaitCode = "clearing"
	// WaitBrokerQueue: it waits for its turn at the broker.
	WaitBrokerQueue WaitCode = "broker_queue"
	// WaitBrokerFault: a step at the broker failed and is tried again.
	WaitBrokerFault WaitCode = "broker_fault"
	// WaitSiteCordoned: an operator lets nothing new start at the site.
	WaitSiteCordoned WaitCode = "site_cordoned"
	// WaitSiteDraining: it was queued at a site that is being emptied, and is
	// being taken out of its queue.
	WaitSiteDraining WaitCode = "site_draining"
	// WaitSiteQueueFull: as many wait at the site as it takes.
	WaitSiteQueueFull WaitCode = "site_queue_full"
	// WaitSiteUnreachable: the site does not answer the broker.
	WaitSiteUnreachable WaitCode = "site_unreachable"

	// WaitUnknown: a reason that we have no words of ours for.
	WaitUnknown WaitCode = "unknown"
)

// WaitCodes lists every code.
func WaitCodes() []WaitCode {
	return []WaitCode{
		WaitResources, WaitPriority, WaitReservation, WaitNodeUnavailable, WaitBeginTime, WaitDependency, WaitHeld,
		WaitLimitAccount, WaitLimitQOS, WaitLimitPartition, WaitLicense, WaitGPUsUnavailable, WaitBudgetAtSite,
		WaitStarting, WaitNotEvaluated, WaitSchedulerUnreachable, WaitStaging,
		WaitReview, WaitPackaging, WaitClearing, WaitBrokerQueue, WaitBrokerFault,
		WaitSiteCordoned, WaitSiteDraining, WaitSiteQueueFull, WaitSiteUnreachable, WaitUnknown,
	}
}

// Known reports whether c is one of WaitCodes.
func (c WaitCode) Known() bool { return slices.Contains(WaitCodes(), c) }

// waitWordsMax bounds the words of a Waiting, in bytes.
const waitWordsMax = 300

// Waiting says why something has not begun. The zero value means that nothing
// waits. Make one with Wait: its words come from far away.
type Waiting struct {
	Code  WaitCode  // one of WaitCodes; "" when nothing waits
	Words string    // the scheduler's own, or the fault's code; 300 bytes of one line at most
	Start time.Time // when the scheduler expects it to begin; zero when it does not say
}

// Wait bounds what came from outside: a code that is not ours is WaitUnknown,
// words are cut to one printable line, a start is whole seconds of UTC.
func Wait(code WaitCode, words string, start time.Time) Waiting {
	if !code.Known() {
		code = WaitUnknown
	}
	words = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, words)
	words = strings.TrimSpace(words)
	if len(words) > waitWordsMax {
		n := waitWordsMax
		for !utf8.RuneStart(words[n]) {
			n--
		}
		words = words[:n]
	}
	if !start.IsZero() {
		start = start.UTC().Truncate(time.Second)
	}
	return Waiting{Code: code, Words: words, Start: start}
}

// Zero reports whether nothing waits.
func (w Waiting) Zero() bool { return w.Code == "" }

// waitStartSlack is how far an estimate may move without being news: a
// scheduler estimates anew every half minute.
const waitStartSlack = time.Minute

// Same reports whether o says nothing new.
func (w Waiting) Same(o Waiting) bool {
	return w.Code == o.Code && w.Words == o.Words && w.Start.IsZero() == o.Start.IsZero() &&
		w.Start.Sub(o.Start).Abs() < waitStartSlack
}

// WaitsFor says why a job has not begun and since when: as its attempt records
// it, else what the state itself says. Attempt is the job's newest, zero when it
// has none. Nothing waits once the job runs or is over.
func (j Job) WaitsFor(a Attempt) (Waiting, time.Time) {
	switch j.State {
	case JobInReview:
		return Waiting{Code: WaitReview}, j.UpdatedAt
	case JobSubmitted, JobAdmitted, JobActive:
	case JobNotAdmitted, JobSucceeded, JobFailed, JobCancelled, JobStopped:
		return Waiting{}, time.Time{}
	}
	if !a.Waiting.Zero() && !a.State.Terminal() {
		return a.Waiting, a.WaitingSince
	}
	if code := a.State.waits(); code != "" {
		return Waiting{Code: code}, a.UpdatedAt
	}
	return Waiting{}, time.Time{}
}

// waits is what an attempt waits for by its state alone.
func (s AttemptState) waits() WaitCode {
	switch s {
	case AttemptPackaging:
		return WaitPackaging
	case AttemptClearing:
		return WaitClearing
	case AttemptReady:
		return WaitBrokerQueue
	case AttemptSubmitting:
		return WaitStaging
	case AttemptQueued:
		return WaitUnknown
	case AttemptStarting:
		return WaitStarting
	case AttemptRefused, AttemptRunning, AttemptSealing, AttemptDone:
		return ""
	}
	return ""
}
