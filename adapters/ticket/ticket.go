package ticket

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// PayloadType is the type of the statement.
const PayloadType = "application/vnd.valico.blob-ticket+json"

// Life is for how long an agent makes a ticket; MaxLife is the longest that
// Verify takes, so that the clocks of site and broker may differ by some minutes.
const (
	Life    = 5 * time.Minute
	MaxLife = 15 * time.Minute
)

// maxToken bounds a token in bytes.
const maxToken = 4 << 10

// Ticket says which order's image its holder may read.
type Ticket struct {
	Site    broker.SiteID
	Attempt broker.AttemptID
	Order   broker.OrderID
	Until   time.Time
}

// New is a ticket for an order from now on.
func New(site broker.SiteID, o broker.WorkOrder, now time.Time) Ticket {
	return Ticket{Site: site, Attempt: o.Attempt, Order: o.ID, Until: now.Add(Life)}
}

type wireTicket struct {
	V       int    `json:"v"`
	Site    string `json:"site"`
	Attempt string `json:"attempt"`
	Order   string `json:"order"`
	Until   string `json:"until"`
}

const stamp = "2006-01-02T15:04:05Z"

func (t Ticket) encode() ([]byte, error) {
	if t.Site == "" || t.Attempt == "" || t.Order == "" || t.Until.IsZero() {
		return nil, errors.New("a ticket names site, attempt, order and its end")
	}
	return json.Marshal(wireTicket{
		V: 1, Site: string(t.Site), Attempt: string(t.Attempt), Order: string(t.Order), Until: t.Until.UTC().Format(stamp),
	})
}

// Sign gives the token that stands behind "Bearer".
func Sign(t Ticket, key crypto.Signer) (broker.Secret, error) {
	b, err := t.encode()
	if err != nil {
		return "", fmt.Errorf("sign ticket: %w", err)
	}
	env, err := dsse.Sign(PayloadType, b, key)
	if err != nil {
		return "", fmt.Errorf("sign ticket: %w", err)
	}
	return broker.Secret(base64.RawURLEncoding.EncodeToString(env)), nil
}

// Claim is a ticket whose signature was not looked at: it says whose key to ask
// for and nothing else that may be believed.
type Claim struct {
	Site     broker.SiteID
	ticket   Ticket
	envelope dsse.Envelope
}

// Parse reads a token without believing it.
func Parse(token string) (Claim, error) {
	if len(token) > maxToken {
		return Claim{}, errors.New("no ticket: too long")
	}
	env, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return Claim{}, errors.New("no ticket: not base64url")
	}
	e, err := dsse.Parse(env)
	if err != nil {
		return Claim{}, fmt.Errorf("no ticket: %w", err)
	}
	var w wireTicket
	if err := json.Unmarshal(e.Payload, &w, json.RejectUnknownMembers(true)); err != nil {
		return Claim{}, fmt.Errorf("no ticket: %w", err)
	}
	until, err := time.Parse(stamp, w.Until)
	if err != nil || w.V != 1 {
		return Claim{}, errors.New("no ticket: of another version, or without an end")
	}
	t := Ticket{Site: broker.SiteID(w.Site), Attempt: broker.AttemptID(w.Attempt), Order: broker.OrderID(w.Order), Until: until}
	if again, err := t.encode(); err != nil || !bytes.Equal(again, e.Payload) {
		return Claim{}, errors.New("no ticket: another encoding of the same ticket")
	}
	return Claim{Site: t.Site, ticket: t, envelope: e}, nil
}

// Verify returns the ticket if key signed it and it counts now.
func (c Claim) Verify(key crypto.PublicKey, now time.Time) (Ticket, error) {
	if _, err := c.envelope.Verify(PayloadType, key); err != nil {
		return Ticket{}, fmt.Errorf("verify ticket: %w", err)
	}
	if !now.Before(c.ticket.Until) {
		return Ticket{}, errors.New("verify ticket: it has ended")
	}
	if c.ticket.Until.Sub(now) > MaxLife {
		return Ticket{}, errors.New("verify ticket: it counts for longer than any ticket may")
	}
	return c.ticket, nil
}
