package telemetry

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// MaxMessage bounds one message on a stream, in bytes.
const MaxMessage = 64 << 10

// cutMark ends a text that was cut to fit a message.
const cutMark = " [cut: longer than one telemetry message]"

// wireVersion is the version of the wire form.
const wireVersion = 1

// wire is an event as it travels. Cursor does not: the projection gives it.
type wire struct {
	V       int     `json:"v"`
	Tenant  string  `json:"tenant"`
	Job     string  `json:"job"`
	Attempt string  `json:"attempt,omitempty"`
	Site    string  `json:"site,omitempty"`
	Source  string  `json:"source"`
	Seq     uint64  `json:"seq"`
	Kind    string  `json:"kind"`
	Name    string  `json:"name,omitempty"`
	Value   float64 `json:"value,omitempty"`
	Step    int64   `json:"step,omitempty"`
	Text    string  `json:"text,omitempty"`
	AtUnix  int64   `json:"at"` // microseconds since 1970, UTC
}

// Encode gives an event's wire form. Text that is no UTF-8 is mended, and text
// that would not fit a message is cut, and says so.
func Encode(e broker.Event) ([]byte, error) {
	if err := checkEvent(e); err != nil {
		return nil, err
	}
	if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) {
		return nil, fmt.Errorf("event %d of attempt %s: value is not a finite number", e.Seq, e.Attempt)
	}
	w := wire{
		V: wireVersion, Tenant: string(e.Tenant), Job: string(e.Job), Attempt: string(e.Attempt), Site: string(e.Site),
		Source: e.Source, Seq: e.Seq, Kind: e.Kind, Name: cut(e.Name, 256), Value: e.Value, Step: e.Step,
		Text: strings.ToValidUTF8(e.Text, "\uFFFD"), AtUnix: e.At.UnixMicro(),
	}
	for limit := MaxMessage / 2; ; limit /= 2 {
		b, err := json.Marshal(w)
		if err != nil {
			return nil, fmt.Errorf("encode event %d of attempt %s: %w", e.Seq, e.Attempt, err)
		}
		if len(b) <= MaxMessage-1024 { // room for subject and headers
			return b, nil
		}
		w.Text = cut(w.Text, limit) + cutMark
	}
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Decode reads an event's wire form strictly and checks that it may travel
// under the subject it came with: a site speaks for itself alone.
func Decode(subject string, b []byte) (broker.Event, error) {
	var w wire
	if len(b) > MaxMessage {
		return broker.Event{}, fmt.Errorf("message of %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		return broker.Event{}, fmt.Errorf("read event: %w", err)
	}
	if w.V != wireVersion {
		return broker.Event{}, fmt.Errorf("event of unknown version %d", w.V)
	}
	e := broker.Event{
		Tenant: broker.TenantID(w.Tenant), Job: broker.JobID(w.Job), Attempt: broker.AttemptID(w.Attempt),
		Site: broker.SiteID(w.Site), Source: w.Source, Seq: w.Seq, Kind: w.Kind, Name: w.Name,
		Value: w.Value, Step: w.Step, Text: w.Text, At: time.UnixMicro(w.AtUnix).UTC(),
	}
	want, err := Subject(e)
	if err != nil {
		return broker.Event{}, err
	}
	if want != subject {
		return broker.Event{}, fmt.Errorf("event came under another subject than its own")
	}
	return e, nil
}
