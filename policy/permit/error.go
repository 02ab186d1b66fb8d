package permit

import "errors"

// Codes of the errors of this package.
const (
	// CodeMalformed: not a token of the expected type, or not a document.
	CodeMalformed = "permit_malformed"
	// CodeKeyUnknown: no trusted issuer has the key that the token names.
	CodeKeyUnknown = "permit_key_unknown"
	// CodeSignature: the named key did not sign this.
	CodeSignature = "permit_signature"
	// CodeScope: genuine, but the issuer is not trusted for it.
	CodeScope = "permit_scope"
)

// Error is a permit or a status that was refused.
type Error struct {
	Code    string
	Message string // what went wrong, lower case, no full stop
	Rule    string
	Value   string
	Help    string
	Err     error // logged, never shown
}

// Error joins the message with the value and the cause; only logs may see it.
func (e *Error) Error() string {
	s := e.Message
	if e.Value != "" {
		s += " (" + e.Value + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, or "".
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func malformed(message, value string, err error) error {
	return &Error{
		Code: CodeMalformed, Message: message, Value: cut(value),
		Rule: "a permit or status is a compact JWS of its own type, with exactly alg, kid and typ in its header",
		Help: "ask the authority for the file as it was signed", Err: err,
	}
}

// cut keeps a reported value short enough to read.
func cut(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
