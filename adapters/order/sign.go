package order

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// Signer signs work orders with the broker's order key. It is safe for
// concurrent use if its key is.
type Signer struct{ key crypto.Signer }

// NewSigner makes a Signer of an ECDSA P-256 or Ed25519 key.
func NewSigner(key crypto.Signer) (*Signer, error) {
	if key == nil {
		return nil, errors.New("order signer: a key is required")
	}
	if _, err := dsse.KeyID(key.Public()); err != nil {
		return nil, fmt.Errorf("order signer: %w", err)
	}
	return &Signer{key: key}, nil
}

// Sign puts an order into its envelope, beside its evidence. Times are cut to
// microseconds in UTC; the order returned is what the envelope says.
func (s *Signer) Sign(_ context.Context, o broker.WorkOrder, e broker.Evidence) (broker.SignedOrder, error) {
	o.NotBefore = o.NotBefore.UTC().Truncate(time.Microsecond)
	o.NotAfter = o.NotAfter.UTC().Truncate(time.Microsecond)
	payload, err := encodeStatement(o)
	if err != nil {
		return broker.SignedOrder{}, fmt.Errorf("sign order %s: %w", o.ID, err)
	}
	envelope, err := dsse.Sign(PayloadType, payload, s.key)
	if err != nil {
		return broker.SignedOrder{}, fmt.Errorf("sign order %s: %w", o.ID, err)
	}
	if o, err = decodeStatement(PayloadType, payload); err != nil {
		return broker.SignedOrder{}, fmt.Errorf("read order back: %w", err)
	}
	return broker.SignedOrder{Order: o, Envelope: envelope, Evidence: e}, nil
}
