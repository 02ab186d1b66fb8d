package order

import (
	"errors"

	"github.com/valico-hpc/valico/broker"
)

// The codes of a refusal, in the order in which they are checked.
const (
	CodeMalformed         = "order_malformed"
	CodeKeyUnknown        = "order_key_unknown"
	CodeKeyRole           = "order_key_role"
	CodeSignature         = "order_signature"
	CodeKeyEpoch          = "key_epoch"
	CodeWrongSite         = "wrong_site"
	CodeWrongAccount      = "wrong_account"
	CodeNotYet            = "order_not_yet"
	CodeExpired           = "order_expired"
	CodeSubmitter         = "submitter_mismatch"
	CodeSpec              = "spec_mismatch"
	CodePermitSignature   = "permit_signature"
	CodePermitScope       = "permit_scope"
	CodePermitExpired     = "permit_expired"
	CodePermitStatus      = "permit_status"
	CodeClearance         = "clearance_mismatch"
	CodeReceipt           = "receipt_invalid"
	CodeImageSignature    = "image_signature"
	CodeImageTampered     = "image_tampered"
	CodeMountNotSynthetic = "mount_not_synthetic"
	CodeCommand           = "command_mismatch"
	CodeLimits            = "limits_mismatch"
	CodeSecondStart       = "second_start"
)

// Who can help with a refusal.
const (
	whoBroker    = "the broker's operator"
	whoSite      = "the site operator"
	whoAuthority = "the permit authority"
	whoSubmitter = "the submitter"
)

// Refuse is the error of one code, for a value and a cause that may be empty.
// The cause is for logs alone.
func Refuse(code, value string, cause error) *broker.Error {
	e := words(code)
	e.Kind, e.Code, e.Value, e.Err = broker.KindForbidden, code, cut(value), cause
	return &e
}

// fault is why a check fails: the value that may be shown and the detail that
// is logged.
type fault struct {
	value  string
	detail error
}

func (f *fault) Error() string { return f.detail.Error() }
func (f *fault) Unwrap() error { return f.detail }

// no makes a fault in words.
func no(value, detail string) error { return &fault{value: value, detail: errors.New(detail)} }

// because makes a fault of an error.
func because(value string, err error) error { return &fault{value: value, detail: err} }

func cut(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}

// words is the catalogue of refusals.
func words(code string) broker.Error {
	if e, ok := wordsOfOrder(code); ok {
		return e
	}
	if e, ok := wordsOfPermit(code); ok {
		return e
	}
	if e, ok := wordsOfRun(code); ok {
		return e
	}
	return broker.Error{Message: "the site refused the work order", Help: "see the site's journal", Who: whoSite}
}

func say(message, rule, help, who string) (broker.Error, bool) {
	return broker.Error{Message: message, Rule: rule, Help: help, Who: who}, true
}

func wordsOfOrder(code string) (broker.Error, bool) {
	switch code {
	case CodeMalformed:
		return say("the work order is not understood", "an order is the one encoding of a signed in-toto statement of its own type, with its evidence",
			"update the older of broker and site, then submit again", whoBroker)
	case CodeKeyUnknown:
		return say("the work order is signed with a key that the site does not know", "orders are signed with a key that the site pinned",
			"pin the broker's order key in the site's trust file, if it is genuine", whoSite)
	case CodeKeyRole:
		return say("the work order is signed with a key of another role", "a key serves one role; orders are signed with an order key",
			"sign orders with the order key", whoBroker)
	case CodeSignature:
		return say("the work order's signature does not hold", "the pinned order key signed exactly these bytes",
			"submit the job again; if it happens again, treat it as an attack", whoBroker)
	case CodeKeyEpoch:
		return say("the work order is of a key epoch that the site no longer accepts", "an order's key epoch is not below the one that the site pinned",
			"submit the job again, so that a new order is signed", whoBroker)
	case CodeWrongSite:
		return say("the work order is for another site", "a site runs orders that name it", "submit the job to this site", whoSubmitter)
	case CodeWrongAccount:
		return say("the work order is for another account", "an order runs as the account that it names, one that the site mapped to a person",
			"check the site's account map", whoSite)
	case CodeNotYet:
		return say("the work order is not valid yet", "an order starts between its not_before and its not_after",
			"check the clocks of broker and site", whoSite)
	case CodeExpired:
		return say("the work order may no longer be started", "an order starts between its not_before and its not_after",
			"submit the job again", whoSubmitter)
	case CodeSubmitter:
		return say("the submitter may not run this here", "the submitter is who was cleared, a current person of the permit, and the one whose account the order names",
			"check the permit's persons and the site's account map", whoAuthority)
	case CodeSpec:
		return say("the job is not the one that was cleared", "order, clearance and evidence name the same job spec, and the order repeats what it says",
			"submit the job again", whoBroker)
	}
	return broker.Error{}, false
}

func wordsOfPermit(code string) (broker.Error, bool) {
	switch code {
	case CodePermitSignature:
		return say("the permit is not genuine", "the permit is the one that the order names, signed by an authority that the site pinned, and follows every rule of its form",
			"import the permit as the authority signed it", whoAuthority)
	case CodePermitScope:
		return say("the permit does not reach this far", "permit, job and site agree on site, purpose and datasets, within what the authority is trusted for",
			"submit what the permit covers, or ask for another permit", whoAuthority)
	case CodePermitExpired:
		return say("the permit does not cover the time of this run", "the run lies within the permit's access period, to the end of its walltime",
			"shorten the walltime, or ask for an extension", whoAuthority)
	case CodePermitStatus:
		return say("the permit's status does not allow a start", "the authority's own fresh statement says granted, amended or renewed for this version of the permit",
			"wait for a fresh status, or ask the authority why it changed", whoAuthority)
	case CodeClearance:
		return say("the clearance is not for this run", "the clearance allows exactly this job, attempt, image, site, account, permit and status",
			"submit the job again", whoBroker)
	case CodeReceipt:
		return say("the clearance is not proven to be in the ledger", "a receipt under a pinned ledger key proves that the clearance was recorded",
			"wait for the ledger, then submit again", whoBroker)
	}
	return broker.Error{}, false
}

func wordsOfRun(code string) (broker.Error, bool) {
	switch code {
	case CodeImageSignature:
		return say("the image is not signed", "an image key that the site pinned signed this manifest digest", "submit the job again, so that the image is signed", whoBroker)
	case CodeImageTampered:
		return say("the image is not the one that was cleared", "manifest, config and every layer have the digests that were signed",
			"copy the image to the site again; treat it as an attack if it differs again", whoSite)
	case CodeMountNotSynthetic:
		return say("the data may not be opened here", "this site opens synthetic datasets of its own registry, under regime SANDBOX, exactly as cleared; other data need an enforced site",
			"check the site's dataset registry, or use its synthetic datasets", whoSite)
	case CodeCommand:
		return say("the command is not the one that was cleared", "order, job spec and image config have the same command, environment and folder, and no entrypoint",
			"submit the job again", whoBroker)
	case CodeLimits:
		return say("the limits are not the ones that were cleared", "order, clearance and job spec have the same resources", "submit the job again", whoBroker)
	case CodeSecondStart:
		return say("the attempt was started before", "an attempt executes at most once", "submit the job again for a new attempt", whoSubmitter)
	}
	return broker.Error{}, false
}
