package broker

import (
	"errors"
	"strings"
)

// Kind classifies an error for exit codes and HTTP statuses.
type Kind string

// The kinds of errors, from the caller's fault to ours.
const (
	// KindInvalid: the input breaks a rule that the caller can read.
	KindInvalid Kind = "invalid"
	// KindUnauthenticated: no token, or one that is unknown, revoked or expired.
	KindUnauthenticated Kind = "unauthenticated"
	// KindForbidden: signed in, but this is not for the caller. Shown as not-found
	// where the existence of the thing is itself private.
	KindForbidden Kind = "forbidden"
	// KindNotFound: unknown, or not the caller's; the two look alike.
	KindNotFound Kind = "not-found"
	// KindConflict: the state changed meanwhile, or an idempotency key was reused.
	KindConflict Kind = "conflict"
	// KindNotAdmitted: policy did not admit the job. Carries Reasons and Decision.
	KindNotAdmitted Kind = "not-admitted"
	// KindQuota: the allocation does not hold what the job reserves.
	KindQuota Kind = "quota"
	// KindUnavailable: a site, store, ledger or engine does not answer; nothing ran.
	KindUnavailable Kind = "backend-unavailable"
	// KindInternal: our fault. The message shown is generic; Err is logged.
	KindInternal Kind = "internal"
)

// CodeStaleVersion is the code of a conflict with a version that the caller
// named: the thing has another by now.
const CodeStaleVersion = "version_changed"

// Error is the one error type that crosses package boundaries towards a person.
// Message, Rule, Value, Help and Who may be shown; Err is logged, never shown.
type Error struct {
	Kind    Kind
	Code    string // stable machine-readable code, for example "permit_expired"
	Message string // what went wrong, lower case, no full stop
	Rule    string // the rule that was broken: an article, an RFC section, a bound
	Value   string // the caller's value that broke it
	Help    string // what helps
	Who     string // who can help
	// Reasons and Decision are set for KindNotAdmitted.
	Reasons  []Reason
	Decision DecisionID
	Err      error
}

// Error joins the message with its cause; only logs may see the result.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Value != "" {
		b.WriteString(" (" + e.Value + ")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, KindInternal for
// any other non-nil error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// CodeOf returns the code of the first *Error in err's chain, or "".
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// NotFound says that a thing is unknown or not the caller's, in the same words.
func NotFound(what, id string) *Error {
	return &Error{
		Kind: KindNotFound, Code: "not_found", Message: "no such " + what, Value: id,
		Rule: "a " + what + " is visible to its own project only",
		Help: "list yours and check the identifier", Who: "the person who gave you the identifier",
	}
}
