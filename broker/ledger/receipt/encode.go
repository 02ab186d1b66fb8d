package receipt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"time"
)

// maxBytes bounds what a decoder looks at; a decision document of the largest
// job is some tens of kilobytes.
const maxBytes = 4 << 20

// stampLayout is the only form of a time in this package.
const stampLayout = "2006-01-02T15:04:05.000000Z"

// Stamp writes a time as records and documents have it: UTC, microseconds.
func Stamp(t time.Time) string {
	return t.UTC().Truncate(time.Microsecond).Format(stampLayout)
}

func validStamp(s string) bool {
	t, err := time.Parse(stampLayout, s)
	return err == nil && t.Format(stampLayout) == s
}

// marshal is the one encoding: members in the order of declaration, map keys
// sorted, no white space, no HTML escapes, no final line break.
func marshal[T any](v T) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fail(CodeMalformed, "encode: %w", err)
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(out) > maxBytes {
		return nil, fail(CodeMalformed, "%d bytes, at most %d allowed", len(out), maxBytes)
	}
	// encoding/json silently replaces invalid UTF-8 by this escape, and two
	// values would then share one encoding.
	if bytes.Contains(out, []byte(`\ufffd`)) {
		var back T
		if err := unmarshal(out, &back); err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(v, back) {
			return nil, fail(CodeMalformed, "a text is not valid UTF-8")
		}
	}
	return out, nil
}

// unmarshal refuses unknown members and trailing bytes; the callers refuse the
// rest by encoding again.
func unmarshal(b []byte, v any) error {
	if len(b) > maxBytes {
		return fail(CodeMalformed, "%d bytes, at most %d allowed", len(b), maxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fail(CodeMalformed, "decode: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fail(CodeMalformed, "decode: bytes after the value")
	}
	return nil
}

// canonical refuses bytes that encode would not have written for v.
func canonical[T any](b []byte, v T, encode func(T) ([]byte, error)) error {
	again, err := encode(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, again) {
		return fail(CodeMalformed, "%s", difference(b, again))
	}
	return nil
}

func difference(got, want []byte) string {
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	return fmt.Sprintf("not the canonical encoding, from byte %d on", n)
}

// Encode writes a document in its one encoding; nil lists and maps are written
// as empty ones.
func Encode(d Document) ([]byte, error) {
	if d.Schema != DocumentSchema {
		return nil, fail(CodeMalformed, "schema %q, want %q", d.Schema, DocumentSchema)
	}
	rs := make([]Reason, len(d.Reasons))
	for i, r := range d.Reasons {
		if r.Params == nil {
			r.Params = map[string]string{}
		}
		rs[i] = r
	}
	d.Reasons = rs
	return marshal(d)
}

// Decode reads a document and refuses anything that Encode would not have
// written.
func Decode(b []byte) (Document, error) {
	var d Document
	if err := unmarshal(b, &d); err != nil {
		return Document{}, err
	}
	if err := canonical(b, d, Encode); err != nil {
		return Document{}, err
	}
	return d, nil
}
