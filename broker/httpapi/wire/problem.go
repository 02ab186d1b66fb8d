package wire

import (
	"errors"
	"net/http"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
)

// ProblemBase begins the type of every problem; the kind follows.
const ProblemBase = "https://valico-hpc.github.io/problems/"

// ProblemType is the media type of a Problem (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is an error as it travels: RFC 9457 with extensions that say which
// rule was broken, by which value, what helps and who can help.
type Problem struct {
	Type     string `json:"type" format:"uri" doc:"The kind of problem; stable." example:"https://valico-hpc.github.io/problems/not-found"`
	Title    string `json:"title" doc:"The kind in words."`
	Status   int    `json:"status" doc:"HTTP status."`
	Detail   string `json:"detail" doc:"What went wrong."`
	Instance string `json:"instance,omitempty" doc:"The request id, to quote to the operator."`

	Code       string       `json:"code,omitempty" doc:"Stable machine-readable code." example:"not_found"`
	Rule       string       `json:"rule,omitempty" doc:"The rule that was broken."`
	Value      string       `json:"value,omitempty" doc:"The caller's value that broke it."`
	Help       string       `json:"help,omitempty" doc:"What helps."`
	Who        string       `json:"who,omitempty" doc:"Who can help."`
	Errors     []FieldError `json:"errors,omitempty" doc:"Every field at fault."`
	Reasons    []Reason     `json:"reasons,omitempty" doc:"Why policy did not admit the job."`
	DecisionID string       `json:"decision_id,omitempty" doc:"The recorded decision."`
}

// FieldError is one field at fault.
type FieldError struct {
	Field  string `json:"field" doc:"Path of the field." example:"datasets[0].puri"`
	Line   int    `json:"line,omitempty" doc:"Line of the file, when there is one."`
	Reason string `json:"reason" doc:"The rule that it breaks."`
	Value  string `json:"value,omitempty" doc:"What was given."`
	Help   string `json:"help,omitempty" doc:"What helps."`
}

// FieldsError is an error that names fields. It unwraps to the *broker.Error
// that says the same in one sentence.
type FieldsError struct {
	Fields []FieldError
	Err    *broker.Error
}

// Error is the sentence.
func (e *FieldsError) Error() string { return e.Err.Error() }

// Unwrap returns the *broker.Error.
func (e *FieldsError) Unwrap() error { return e.Err }

// ProblemOf is the one function that turns an error into a problem. What is not
// a *broker.Error, and every error of kind internal, becomes a generic sentence:
// a cause is for the log.
func ProblemOf(err error, requestID string) Problem {
	e, ok := errors.AsType[*broker.Error](err)
	if !ok || e.Kind == broker.KindInternal {
		code := "internal"
		if ok && e.Code != "" {
			code = e.Code
		}
		e = &broker.Error{
			Kind: broker.KindInternal, Code: code, Message: "something went wrong inside the broker",
			Help: "try again; if it stays, quote the request id", Who: "the broker's operator",
		}
	}
	p := Problem{
		Type: ProblemBase + string(e.Kind), Title: Title(e.Kind), Status: Status(e.Kind), Detail: e.Message, Instance: requestID,
		Code: e.Code, Rule: e.Rule, Value: e.Value, Help: e.Help, Who: e.Who,
		Reasons: NewReasons(e.Reasons), DecisionID: string(e.Decision),
	}
	if e.Kind == broker.KindInternal {
		return p
	}
	if e.Code == broker.CodeStaleVersion {
		p.Status = http.StatusPreconditionFailed // If-Match named the version
	}
	if je, ok := errors.AsType[*jobspec.Error](err); ok {
		for _, x := range je.Problems {
			p.Errors = append(p.Errors, FieldError{Field: x.Path, Line: x.Line, Reason: x.Rule, Value: x.Value, Help: x.Help})
		}
	}
	if fe, ok := errors.AsType[*FieldsError](err); ok {
		p.Errors = append(p.Errors, fe.Fields...)
	}
	return p
}

// Status is the HTTP status of a kind.
func Status(k broker.Kind) int {
	switch k {
	case broker.KindInvalid:
		return http.StatusUnprocessableEntity
	case broker.KindUnauthenticated:
		return http.StatusUnauthorized
	case broker.KindForbidden:
		return http.StatusForbidden
	case broker.KindNotFound:
		return http.StatusNotFound
	case broker.KindConflict:
		return http.StatusConflict
	case broker.KindNotAdmitted:
		return http.StatusForbidden
	case broker.KindQuota:
		return http.StatusPaymentRequired
	case broker.KindUnavailable:
		return http.StatusServiceUnavailable
	case broker.KindInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// Title names a kind in words.
func Title(k broker.Kind) string {
	switch k {
	case broker.KindInvalid:
		return "The request is not valid"
	case broker.KindUnauthenticated:
		return "Not signed in"
	case broker.KindForbidden:
		return "Not for you"
	case broker.KindNotFound:
		return "Not found"
	case broker.KindConflict:
		return "Conflict"
	case broker.KindNotAdmitted:
		return "Not admitted"
	case broker.KindQuota:
		return "Budget exceeded"
	case broker.KindUnavailable:
		return "Unavailable"
	case broker.KindInternal:
		return "Internal error"
	}
	return "Internal error"
}

// Err is the error that a problem tells of. A type that is not known is kind
// internal.
func (p Problem) Err() error {
	e := &broker.Error{
		Kind: p.kind(), Code: p.Code, Message: p.Detail, Rule: p.Rule, Value: p.Value, Help: p.Help, Who: p.Who,
		Decision: broker.DecisionID(p.DecisionID),
	}
	for _, r := range p.Reasons {
		e.Reasons = append(e.Reasons, r.Noun())
	}
	if len(p.Errors) > 0 {
		return &FieldsError{Fields: p.Errors, Err: e}
	}
	return e
}

func (p Problem) kind() broker.Kind {
	for _, k := range []broker.Kind{
		broker.KindInvalid, broker.KindUnauthenticated, broker.KindForbidden, broker.KindNotFound, broker.KindConflict,
		broker.KindNotAdmitted, broker.KindQuota, broker.KindUnavailable, broker.KindInternal,
	} {
		if p.Type == ProblemBase+string(k) {
			return k
		}
	}
	return broker.KindInternal
}
