package receipt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// RecordVersion is the version of Record, leaf v1.
const RecordVersion = 1

// Hash is a SHA-256, a commitment or a salt: 64 lower-case hexadecimal digits
// as text.
type Hash [32]byte

// String gives the digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives the digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("a hash has 64 hexadecimal digits, got %d characters", len(b))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// Record is what a leaf of the ledger is the hash of. It names nobody and
// nothing: parties get the keys and salts that open their own records.
type Record struct {
	Version   int    `json:"version"`
	Kind      string `json:"kind"`      // admission, clearance, permit_import, …
	At        string `json:"at"`        // RFC 3339, UTC, microseconds
	Tenant    Hash   `json:"tenant"`    // TenantCommitment
	Permit    Hash   `json:"permit"`    // PermitCommitment
	Pseudonym Hash   `json:"pseudonym"` // of the person, the same within one permit
	Seq       int64  `json:"seq"`       // dense per permit, from 1
	Prev      Hash   `json:"prev"`      // the permit's leaf before; zeros for Seq 1
	Document  Hash   `json:"document"`  // DocumentCommitment
}

// EncodeRecord writes a record in its one encoding.
func EncodeRecord(r Record) ([]byte, error) {
	switch {
	case r.Version != RecordVersion:
		return nil, fail(CodeMalformed, "record version %d, want %d", r.Version, RecordVersion)
	case r.Kind == "":
		return nil, fail(CodeMalformed, "a record has a kind")
	case !validStamp(r.At):
		return nil, fail(CodeMalformed, "time %q is not of the form %s", r.At, stampLayout)
	case r.Seq < 1:
		return nil, fail(CodeMalformed, "sequence %d, the first is 1", r.Seq)
	case (r.Seq == 1) != (r.Prev == Hash{}):
		return nil, fail(CodeMalformed, "only the first record of a permit has no leaf before it")
	}
	return marshal(r)
}

// DecodeRecord reads a record and refuses anything that EncodeRecord would not
// have written.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	if err := unmarshal(b, &r); err != nil {
		return Record{}, err
	}
	if err := canonical(b, r, EncodeRecord); err != nil {
		return Record{}, err
	}
	return r, nil
}

// Leaf is the SHA-256 of the record's one encoding: the data of its leaf, which
// RFC 6962 hashes once more. It is zero for a record that has no encoding.
func (r Record) Leaf() [32]byte {
	b, err := EncodeRecord(r)
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(b)
}

// The labels keep the commitments made with one key apart.
const (
	labelPseudonym = "valico-ledger/v1 person\n"
	labelPermit    = "valico-ledger/v1 permit\n"
	labelTenant    = "valico-ledger/v1 tenant\n"
)

// Pseudonym is how a person appears in a permit's records; key is the permit's.
func Pseudonym(key Hash, person string) Hash { return keyed(key, labelPseudonym, person) }

// PermitCommitment is how a permit appears in its own records.
func PermitCommitment(key Hash, permit string) Hash { return keyed(key, labelPermit, permit) }

// TenantCommitment is how a tenant appears in a permit's records.
func TenantCommitment(key Hash, tenant string) Hash { return keyed(key, labelTenant, tenant) }

func keyed(key Hash, label, text string) Hash {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(label))
	m.Write([]byte(text))
	return Hash(m.Sum(nil))
}

// DocumentCommitment is SHA-256 over the salt and the document's exact bytes.
// The salt is 32 random bytes, so its end needs no mark.
func DocumentCommitment(salt Hash, document []byte) Hash {
	h := sha256.New()
	h.Write(salt[:])
	h.Write(document)
	return Hash(h.Sum(nil))
}
