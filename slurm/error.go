package slurm

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Class says what a failure means for the caller.
type Class string

// The classes of failures.
const (
	// ClassAuth: the token or the peer is not accepted.
	ClassAuth Class = "auth"
	// ClassOutage: slurmrestd, slurmctld or slurmdbd does not answer.
	ClassOutage Class = "outage"
	// ClassNotFound: there is no such job.
	ClassNotFound Class = "not_found"
	// ClassForbidden: who asked is known and may not do this.
	ClassForbidden Class = "forbidden"
	// ClassVersion: slurmrestd and this client have no API version in common, or
	// it stopped to serve the one that was agreed on.
	ClassVersion Class = "version"
	// ClassRefused: Slurm refused the request for good.
	ClassRefused Class = "refused"
	// ClassFinished: the job has ended already.
	ClassFinished Class = "finished"
	// ClassProtocol: the answer is none that this client understands.
	ClassProtocol Class = "protocol"
)

// Slurm's numbers that this client tells apart; see slurm_errno.h.
const (
	numberAuth          = 1007 // SLURM_PROTOCOL_AUTHENTICATION_ERROR
	numberAccess        = 2002 // ESLURM_ACCESS_DENIED
	numberUser          = 2010 // ESLURM_USER_ID_MISSING: of another person
	numberNoJob         = 2017 // ESLURM_INVALID_JOB_ID
	numberFinished      = 2021 // ESLURM_ALREADY_DONE
	numberSocketTimeout = 5004 // SLURM_PROTOCOL_SOCKET_IMPL_TIMEOUT
	numberDB            = 7000 // ESLURM_DB_CONNECTION
)

// Error is a failed call.
type Error struct {
	Op          string // what was tried, such as "submit job"
	Status      int    // HTTP status; 0 when there was no answer
	Number      int    // Slurm's error number; 0 when it gave none
	Name        string // what Slurm calls that number
	Description string
	Source      string
	Job         JobID // the job concerned, when known
	Err         error // the cause below HTTP

	class  Class
	unsent bool // nothing reached Slurm, or Slurm refused before acting
}

// Error gives every part that is known, once.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("slurm: " + e.Op)
	if e.Job != 0 {
		b.WriteString(" " + e.Job.String())
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": HTTP %d", e.Status)
	}
	if e.Number != 0 {
		fmt.Fprintf(&b, ": %d %s", e.Number, e.Name)
	}
	if e.Description != "" {
		b.WriteString(": " + e.Description)
	}
	if e.Source != "" {
		b.WriteString(" [" + e.Source + "]")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause below HTTP.
func (e *Error) Unwrap() error { return e.Err }

// Class returns what the failure means.
func (e *Error) Class() Class { return e.class }

// Unknown reports whether the request may have taken effect all the same. A
// caller that submitted must then look for the job before it submits again.
func (e *Error) Unknown() bool {
	if e.unsent {
		return false
	}
	switch e.class {
	case ClassOutage, ClassProtocol, ClassVersion:
		return true
	case ClassAuth, ClassForbidden, ClassNotFound, ClassRefused, ClassFinished:
		return false
	}
	return true
}

// classify is the one place that knows what a status and a number mean. The
// number is more precise where there is one.
func classify(status, number int) Class {
	switch number {
	case numberAuth:
		return ClassAuth
	case numberAccess, numberUser:
		return ClassForbidden
	case numberNoJob:
		return ClassNotFound
	case numberFinished:
		return ClassFinished
	case numberSocketTimeout, numberDB:
		return ClassOutage
	}
	switch status {
	case http.StatusUnauthorized, http.StatusNetworkAuthenticationRequired:
		return ClassAuth
	case http.StatusForbidden:
		return ClassForbidden
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ClassOutage
	}
	if status == http.StatusNotFound && number == 0 {
		return ClassVersion // a path that is not served
	}
	switch {
	case number >= 1000 && number < 2000 || number >= 5000 && number < 6000:
		return ClassOutage // Slurm's own communication and socket errors
	case number >= 2000 && number < 10000:
		return ClassRefused
	case status >= 400 && status < 500:
		return ClassRefused
	}
	return ClassProtocol
}

// message is an entry of the arrays errors and warnings.
type message struct {
	Description string `json:"description"`
	Number      int    `json:"error_number"`
	Name        string `json:"error"`
	Source      string `json:"source"`
}

func (m message) String() string { return strings.TrimSpace(m.Description + " [" + m.Source + "]") }

// failure makes an error of an answer that is not 200. Its body may be JSON,
// plain text or empty.
func failure(op string, status int, body io.Reader) *Error {
	e := &Error{Op: op, Status: status}
	b, err := io.ReadAll(body)
	var a struct {
		Errors []message `json:"errors"`
	}
	if err != nil {
		e.Err = err
	} else if decode(b, &a) == nil && len(a.Errors) > 0 {
		m := a.Errors[0]
		e.Number, e.Name, e.Description, e.Source = m.Number, clip(m.Name), clip(m.Description), clip(m.Source)
	} else {
		e.Description = clip(string(b))
	}
	e.class = classify(status, e.Number)
	return e
}

// clip keeps a foreign text short enough for a log line.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
