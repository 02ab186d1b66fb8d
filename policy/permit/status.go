package permit

import (
	"crypto"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// StatusSchema is the version of Status.
const StatusSchema = "ehds-permit-status/v1"

// Status is what an authority says of one version of a permit at one moment.
// It stands for the statement whatever its form, so that a token status list
// can take the place of this one.
type Status struct {
	PermitID string
	Version  int
	Status   string
	At       time.Time // when the authority stated it
	Reason   string    // may be withheld

	// KeyID and Issuer are established by VerifyStatus: the key that signed and
	// the authority it was pinned for. They are not part of the statement.
	KeyID  string
	Issuer string
}

// TrustedStatusKey is a key that may state the status of an authority's permits.
type TrustedStatusKey struct {
	KeyID  string
	Public crypto.PublicKey // ECDSA P-256 or Ed25519
	Issuer string           // the hdab_id whose permits it speaks of
}

type wireStatus struct {
	Schema   string    `json:"schema"`
	PermitID string    `json:"permit_id"`
	Version  int       `json:"version"`
	Status   string    `json:"status"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason,omitzero"`
}

// SignStatus makes the compact JWS of a status statement.
func SignStatus(s Status, key crypto.Signer, kid string) (string, error) {
	w := wireStatus{
		Schema: StatusSchema, PermitID: s.PermitID, Version: s.Version, Status: s.Status,
		At: s.At.UTC(), Reason: s.Reason,
	}
	w, err := checkStatus(w)
	if err != nil {
		return "", fmt.Errorf("sign status of permit %s: %w", s.PermitID, err)
	}
	out, err := sign(w, TypeStatus, key, kid)
	if err != nil {
		return "", fmt.Errorf("sign status of permit %s: %w", s.PermitID, err)
	}
	return out, nil
}

// VerifyStatus checks a compact JWS with the one trusted status key that it
// names. Whether the statement is about the permit at hand, by its own
// authority and fresh enough is for the caller to compare.
func VerifyStatus(compact []byte, keys []TrustedStatusKey) (Status, error) {
	h, err := parse(compact, TypeStatus)
	if err != nil {
		return Status{}, err
	}
	at, err := find(h.KeyID, len(keys), func(i int) string { return keys[i].KeyID })
	if err != nil {
		return Status{}, err
	}
	key := keys[at]
	payload, err := verify(compact, h, key.Public)
	if err != nil {
		return Status{}, err
	}
	var w wireStatus
	if err := json.Unmarshal(payload, &w, json.RejectUnknownMembers(true)); err != nil {
		return Status{}, malformed("the status statement is not understood", "", err)
	}
	if w, err = checkStatus(w); err != nil {
		return Status{}, err
	}
	return Status{
		PermitID: w.PermitID, Version: w.Version, Status: w.Status, At: w.At, Reason: w.Reason,
		KeyID: key.KeyID, Issuer: key.Issuer,
	}, nil
}

func checkStatus(w wireStatus) (wireStatus, error) {
	switch {
	case w.Schema != StatusSchema:
		return w, malformed("not a statement of schema "+StatusSchema, w.Schema, nil)
	case w.PermitID == "" || w.Version < 1:
		return w, malformed("the status names no permit and version", w.PermitID, nil)
	case !knownStatus(w.Status):
		return w, malformed("not a status of a permit", w.Status, nil)
	case w.At.IsZero() || !utc(w.At):
		return w, malformed("the status has no time in UTC", "", nil)
	}
	return w, nil
}

func knownStatus(s string) bool {
	switch s {
	case StatusGranted, StatusAmended, StatusRenewed, StatusRevoked, StatusExpired, StatusSuspended:
		return true
	}
	return false
}

// Active reports whether a permit of that status may be used.
func Active(status string) bool {
	return status == StatusGranted || status == StatusAmended || status == StatusRenewed
}

func utc(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}
