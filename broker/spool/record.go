package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind says what a record is.
type Kind string

// The kinds of records.
const (
	// KindStarted is the first record of an attempt that was not refused.
	KindStarted Kind = "started"
	// KindMetric is a number that the workload reported: Name, Value, Step.
	KindMetric Kind = "metric"
	// KindLog is one line: Name is "stdout" or "stderr", Text the line.
	KindLog Kind = "log"
	// KindNotice is a word of the launcher's: Name is a code, Text for people.
	KindNotice Kind = "notice"
	// KindOutcome is the last record of every spool that ended.
	KindOutcome Kind = "outcome"
)

// Bounds of what a record holds.
const (
	// MaxLine is the longest Text in bytes; what is longer is cut.
	MaxLine = 8 << 10
	// MaxName is the longest Name, Code or Outcome in bytes.
	MaxName = 256
	// MaxPayload is the longest encoded record. JSON makes at most six bytes
	// of one, so a Text of MaxLine and three names of MaxName always fit.
	MaxPayload = 64 << 10
)

// PlainName holds a metric's name to what a name needs: the launcher takes no
// other, and a reader who must not let words out does not either.
func PlainName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./"
	return s != "" && len(s) <= 64 && strings.Trim(s, letters) == ""
}

// Record is one thing that an attempt said. Which fields are set depends on Kind.
type Record struct {
	Seq            uint64    `json:"seq"`
	Kind           Kind      `json:"kind"`
	At             time.Time `json:"at"`
	Name           string    `json:"name,omitempty"`
	Value          float64   `json:"value,omitempty"`
	Step           int64     `json:"step,omitempty"`
	Text           string    `json:"text,omitempty"`
	Cut            int       `json:"cut,omitempty"`     // bytes cut from Text
	Outcome        string    `json:"outcome,omitempty"` // a broker.Outcome
	ExitCode       int       `json:"exit_code,omitempty"`
	Code           string    `json:"code,omitempty"`
	ElapsedSeconds int64     `json:"elapsed_seconds,omitempty"` // rounded up
	GPUs           int       `json:"gpus,omitempty"`
	Dropped        uint64    `json:"dropped,omitempty"` // metric and log records that did not fit or were not valid
	CutBytes       uint64    `json:"cut_bytes,omitempty"`
}

// validate holds for records of a writer and of a file alike.
func (r Record) validate() error {
	switch r.Kind {
	case KindStarted, KindMetric, KindLog, KindNotice:
		if r.Outcome != "" {
			return errors.New("an outcome outside an outcome record")
		}
	case KindOutcome:
		if r.Outcome == "" {
			return errors.New("an outcome record without outcome")
		}
	default:
		return fmt.Errorf("unknown kind %q", r.Kind)
	}
	if _, offset := r.At.Zone(); offset != 0 || r.At.Year() < 1 || r.At.Year() > 9999 {
		return errors.New("a time that is not in UTC or of no year from 1 to 9999") // others cannot be written down again
	}
	if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		return errors.New("a value that is no number")
	}
	if r.ElapsedSeconds < 0 || r.GPUs < 0 || r.Cut < 0 {
		return errors.New("a count below zero")
	}
	if len(r.Name) > MaxName || len(r.Code) > MaxName || len(r.Outcome) > MaxName || len(r.Text) > MaxLine {
		return errors.New("a field longer than its bound")
	}
	return nil
}

// bounded returns r with its text cut and all strings valid UTF-8.
func (r Record) bounded() Record {
	r.Name, r.Code = strings.ToValidUTF8(r.Name, "\uFFFD"), strings.ToValidUTF8(r.Code, "\uFFFD")
	r.Outcome = strings.ToValidUTF8(r.Outcome, "\uFFFD")
	if len(r.Text) > MaxLine {
		r.Text, r.Cut = cut(r.Text, MaxLine), r.Cut+len(r.Text)-MaxLine
	}
	r.Text = strings.ToValidUTF8(r.Text, "\uFFFD")
	if len(r.Text) > MaxLine { // replacement characters are longer than what they replace
		r.Text = cut(r.Text, MaxLine)
	}
	r.At = r.At.UTC().Truncate(time.Microsecond)
	return r
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	for i := n; i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}

// encode gives the canonical bytes of a record: fields in declared order, zero
// fields left out, no HTML escaping, no newline.
func encode(r Record) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decode accepts canonical bytes alone.
func decode(payload []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Record{}, errors.New("decode record: bytes after the record")
	}
	if err := r.validate(); err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	again, err := encode(r)
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(again, payload) {
		return Record{}, errors.New("decode record: not in canonical form")
	}
	return r, nil
}
