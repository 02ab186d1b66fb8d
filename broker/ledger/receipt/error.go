package receipt

import (
	"errors"
	"fmt"
)

// Code says what is wrong with a receipt, a document or a log.
type Code string

// The codes, in the order in which Verify and VerifyLog look.
const (
	// CodeMalformed: the bytes are not the one encoding of any value.
	CodeMalformed Code = "malformed"
	// CodeSignature: no pinned key signed the checkpoint under its origin.
	CodeSignature Code = "checkpoint_signature"
	// CodeCheckpoint: the signed text is not a checkpoint, or of another tree.
	CodeCheckpoint Code = "checkpoint_malformed"
	// CodeInclusion: the tree of the checkpoint does not hold the record there.
	CodeInclusion Code = "not_included"
	// CodeDocument: the record commits to another document.
	CodeDocument Code = "document_mismatch"
	// CodeRoot: the leaves given do not hash to the checkpoint's root.
	CodeRoot Code = "root_mismatch"
	// CodeLeaf: a leaf is not the one that the reference or a record says.
	CodeLeaf Code = "leaf_mismatch"
	// CodeChain: a permit's leaves are not numbered from 1 without gaps, or one
	// does not name the one before it.
	CodeChain Code = "chain_broken"
)

// Error is every failure of this package.
type Error struct {
	Code  Code
	Index int64 // of the leaf concerned; -1 when none is
	Err   error
}

// Error says the code, the leaf and the cause.
func (e *Error) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("%s: %v", e.Code, e.Err)
	}
	return fmt.Sprintf("%s at leaf %d: %v", e.Code, e.Index, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, or "".
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func fail(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Index: -1, Err: fmt.Errorf(format, args...)}
}

func failAt(code Code, index int64, format string, args ...any) *Error {
	return &Error{Code: code, Index: index, Err: fmt.Errorf(format, args...)}
}
