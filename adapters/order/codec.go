package order

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// MaxBytes bounds order.json.
const MaxBytes = 32 << 20

type wireOrder struct {
	Envelope []byte       `json:"envelope"`
	Evidence wireEvidence `json:"evidence"`
}

type wireEvidence struct {
	Spec      []byte `json:"spec"`
	Permit    []byte `json:"permit"`
	Status    []byte `json:"status"`
	Clearance []byte `json:"clearance"`
	Receipt   []byte `json:"receipt"`
	Manifest  []byte `json:"manifest"`
	Config    []byte `json:"config"`
	Signature []byte `json:"signature"`
}

// Encode writes order.json: the envelope and the evidence, each as the exact
// bytes in base64. SignedOrder.Order is not written; the envelope says it.
func Encode(o broker.SignedOrder) ([]byte, error) {
	if len(o.Envelope) == 0 {
		return nil, errors.New("encode order: it is not signed")
	}
	b, err := json.Marshal(wireOrder{Envelope: o.Envelope, Evidence: wireEvidence(o.Evidence)})
	if err != nil {
		return nil, fmt.Errorf("encode order: %w", err)
	}
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("encode order: %d bytes, at most %d allowed", len(b), MaxBytes)
	}
	return b, nil
}

// Decode reads what Encode wrote and refuses any other spelling. It verifies
// no signature. Errors are refusals of code order_malformed.
func Decode(b []byte) (broker.SignedOrder, error) {
	o, _, err := decode(b)
	if err != nil {
		return broker.SignedOrder{}, Refuse(CodeMalformed, "", err)
	}
	return o, nil
}

func decode(b []byte) (broker.SignedOrder, dsse.Envelope, error) {
	fail := func(err error) (broker.SignedOrder, dsse.Envelope, error) {
		return broker.SignedOrder{}, dsse.Envelope{}, fmt.Errorf("decode order: %w", err)
	}
	if len(b) > MaxBytes {
		return fail(fmt.Errorf("%d bytes, at most %d allowed", len(b), MaxBytes))
	}
	var w wireOrder
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		return fail(err)
	}
	e, err := dsse.Parse(w.Envelope)
	if err != nil {
		return fail(err)
	}
	o := broker.SignedOrder{Envelope: w.Envelope, Evidence: w.Evidence.evidence()}
	if o.Order, err = decodeStatement(e.PayloadType, e.Payload); err != nil {
		return fail(err)
	}
	again, err := Encode(o)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(again, b) {
		return fail(errors.New("another encoding of the same order"))
	}
	return o, e, nil
}

// evidence gives what is empty as nil, as it is before it is encoded.
func (w wireEvidence) evidence() broker.Evidence {
	e := broker.Evidence(w)
	for _, p := range []*[]byte{&e.Spec, &e.Permit, &e.Status, &e.Clearance, &e.Receipt, &e.Manifest, &e.Config, &e.Signature} {
		if len(*p) == 0 {
			*p = nil
		}
	}
	return e
}

// Codec is Encode and Decode as a value.
type Codec struct{}

// Encode is the function Encode.
func (Codec) Encode(o broker.SignedOrder) ([]byte, error) { return Encode(o) }

// Decode is the function Decode.
func (Codec) Decode(b []byte) (broker.SignedOrder, error) { return Decode(b) }
