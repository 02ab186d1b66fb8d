package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/policy/permit"
)

// jobEndedError says that a job ended without success.
type jobEndedError struct{ id, state, code string }

func (e *jobEndedError) Error() string {
	s := "job " + e.id + " ended as " + e.state
	if e.code != "" {
		s += ": " + e.code
	}
	return s
}

// usage gives an error of the command line in the form of all errors.
func usage(command string, err error) error {
	if _, ok := errors.AsType[*broker.Error](err); ok {
		return err
	}
	return &broker.Error{
		Kind: broker.KindInvalid, Code: "usage", Message: strings.ReplaceAll(err.Error(), "\n", " "), Help: "run " + command + " --help",
	}
}

// invalid is a value that breaks a rule of the command line or of a file.
func invalid(code, message, rule, value, help string) error {
	return &broker.Error{Kind: broker.KindInvalid, Code: code, Message: message, Rule: rule, Value: value, Help: help}
}

// asBroker is the *broker.Error of an error that is known to hold one.
func asBroker(err error) *broker.Error {
	e, _ := errors.AsType[*broker.Error](err)
	return e
}

// fromEdge gives the errors of the leaf packages in the form of all errors.
func fromEdge(err error) error {
	if le, ok := errors.AsType[layer.Errors](err); ok {
		return fromLayer(le)
	}
	if le, ok := errors.AsType[*layer.Error](err); ok {
		return fromLayer(layer.Errors{le})
	}
	if pe, ok := errors.AsType[*permit.Error](err); ok {
		return &broker.Error{
			Kind: broker.KindInvalid, Code: pe.Code, Message: pe.Message, Rule: pe.Rule, Value: pe.Value, Help: pe.Help,
			Who: "the permit authority", Err: pe.Err,
		}
	}
	return err
}

func fromLayer(le layer.Errors) error {
	first := le[0]
	f := &wire.FieldsError{Err: &broker.Error{
		Kind: broker.KindInvalid, Code: first.Code, Message: "the folder cannot become a layer", Rule: first.Rule, Value: first.Path,
		Help: first.Help, Who: "whoever wrote the job", Err: first.Err,
	}}
	if len(le) > 1 {
		for _, e := range le {
			f.Fields = append(f.Fields, wire.FieldError{Field: e.Path, Reason: e.Rule, Help: e.Help})
		}
	}
	return f
}

// maxFile bounds a file that a command reads whole.
const maxFile = 16 << 20

// readFile reads a file that the person named.
func readFile(what, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (info.IsDir() || info.Size() > maxFile) {
		return nil, invalid("file_invalid", "cannot read "+what, "is a file of at most 16 MiB", path, "")
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path) //nolint:gosec // the person's own choice
	}
	if err != nil {
		return nil, fileError("read "+what, path, err)
	}
	return b, nil
}

func fileError(what, path string, err error) error {
	e := &broker.Error{Kind: broker.KindInvalid, Code: "file_unusable", Message: "cannot " + what, Value: path, Help: "check the path", Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Rule = "the file exists"
	case errors.Is(err, fs.ErrExist):
		e.Rule, e.Help = "a file is not overwritten", "remove it, or choose another name"
	case errors.Is(err, fs.ErrPermission):
		e.Rule, e.Help = "you may read and write it", "check its mode and owner"
	}
	return e
}

// printError tells an error on stderr: what, which rule, your value, what helps
// and who helps; a problem as JSON with -o json.
func (e *env) printError(err error) {
	if e.opts.output == outputJSON {
		enc := json.NewEncoder(e.Stderr)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		_ = enc.Encode(e.problem(err)) // nobody is left to be told
		return
	}
	be, ok := errors.AsType[*broker.Error](err)
	if !ok {
		fmt.Fprintln(e.Stderr, "valico: error: "+clean(strings.ReplaceAll(err.Error(), "\n", " ")))
		return
	}
	fmt.Fprintln(e.Stderr, "valico: error: "+clean(be.Message))
	if fields := wire.ProblemOf(err, "").Errors; len(fields) > 1 {
		for _, f := range fields {
			fmt.Fprintln(e.Stderr, "  - "+clean(fieldLine(f)))
		}
		be = &broker.Error{Message: be.Message, Who: be.Who, Help: "correct what is listed above"}
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(e.Stderr, "  %-12s %s\n", name+":", clean(value))
		}
	}
	line("rule", be.Rule)
	line("your value", be.Value)
	line("what helps", be.Help)
	line("who helps", be.Who)
	if len(be.Reasons) > 0 {
		fmt.Fprintln(e.Stderr)
		e.printReasons(e.Stderr, wire.NewReasons(be.Reasons))
	}
}

// problem is the JSON form. Errors of this machine are shown as they are: there
// is nobody to hide them from.
func (e *env) problem(err error) wire.Problem {
	if _, ok := errors.AsType[*broker.Error](err); ok && broker.KindOf(err) != broker.KindInternal {
		return wire.ProblemOf(err, "")
	}
	p := wire.ProblemOf(err, "")
	p.Detail = err.Error()
	if be, ok := errors.AsType[*jobEndedError](err); ok {
		p.Type, p.Title, p.Code, p.Value, p.Status = wire.ProblemBase+"job-failed", "The job did not succeed", be.state, be.id, 0
		p.Help, p.Who = "see: valico logs "+be.id, ""
	}
	return p
}

func fieldLine(f wire.FieldError) string {
	s := f.Field
	if f.Line > 0 {
		s = fmt.Sprintf("line %d, %s", f.Line, s)
	}
	s += ": " + f.Reason
	if f.Value != "" {
		s += fmt.Sprintf(", got %q", f.Value)
	}
	if f.Help != "" {
		s += " (" + f.Help + ")"
	}
	return s
}
