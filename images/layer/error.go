package layer

import (
	"errors"
	"strings"
)

// Error is a refusal: a path, the rule that it breaks and what helps. Everything
// in it may be shown to the person whose folder it is.
type Error struct {
	Code string // stable, one of the Code constants
	Path string // slash-separated, quoted where it holds odd characters
	Rule string
	Help string
	Err  error
}

// Codes of refusals.
const (
	CodeLink      = "layer_link"      // a symbolic link that leaves the tree
	CodeType      = "layer_file_type" // a device, socket or pipe
	CodeName      = "layer_file_name" // a name that is refused
	CodeSecret    = "layer_secret"    // a file that looks like a secret
	CodeChanged   = "layer_changed"   // a file changed while it was read
	CodeLimit     = "layer_too_large" // a bound of Limits
	CodeIgnore    = "layer_ignore"    // a bad pattern in .valicoignore
	CodeUnread    = "layer_unreadable"
	CodeOption    = "layer_option"    // options or the wanted layer are unusable
	CodeDigest    = "layer_digest"    // the blob is not the one announced
	CodeMalformed = "layer_malformed" // not a tar in the normal form
)

// Error says path, rule and cause in one line.
func (e *Error) Error() string {
	s := e.Rule
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errors are the refusals that one walk over a folder found, in path order.
type Errors []*Error

// maxErrors is how many refusals one walk collects before it gives up.
const maxErrors = 20

// Error joins the refusals, one a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the first refusal.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// asError returns err as a refusal of path, adding what is missing.
func asError(err error, path, rule string) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeUnread, Path: quote(path), Rule: rule, Help: "make it readable, or leave it out in .valicoignore", Err: err}
}
