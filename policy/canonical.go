package policy

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// MaxInputBytes bounds what Evaluate and DecodeInput read.
const MaxInputBytes = 4 << 20

// ErrNotCanonical says that bytes are not what Canonical would write: a field
// is missing, out of order or written in another way.
var ErrNotCanonical = errors.New("policy input is not canonical")

// Canonical encodes an input: fields in the order of the structs, maps sorted,
// empty lists as [], no white space. Equal inputs give equal bytes.
func Canonical(in Input) ([]byte, error) {
	b, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode policy input: %w", err)
	}
	return b, nil
}

// DecodeInput reads canonical input strictly: unknown and duplicate members,
// another schema version and any bytes but the canonical ones are refused.
func DecodeInput(b []byte) (Input, error) {
	var in Input
	if len(b) > MaxInputBytes {
		return Input{}, fmt.Errorf("decode policy input: %d bytes are more than %d", len(b), MaxInputBytes)
	}
	if err := json.Unmarshal(b, &in, json.RejectUnknownMembers(true)); err != nil {
		return Input{}, fmt.Errorf("decode policy input: %w", err)
	}
	if in.Schema != InputSchema {
		return Input{}, fmt.Errorf("decode policy input: schema %q is not %q", in.Schema, InputSchema)
	}
	again, err := Canonical(in)
	if err != nil {
		return Input{}, err
	}
	if !bytes.Equal(b, again) {
		return Input{}, fmt.Errorf("decode policy input: %w", ErrNotCanonical)
	}
	return in, nil
}
