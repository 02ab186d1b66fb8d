package order

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// Codes of a trust file that is refused.
const (
	CodeTrustInvalid = "trust_invalid"
	CodeKeyTwoRoles  = "key_two_roles"
	CodeAccountTwice = "account_two_persons"
)

func place(list string, i int) string { return fmt.Sprintf("keys.%s[%d]", list, i) }

// refuseTrust is the error of a trust file.
func refuseTrust(code, at, rule, value string, err error) *broker.Error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: code, Message: "the site's trust file is not valid: " + at, Rule: rule, Value: cut(value),
		Help: "correct the file; nothing runs at the site before", Who: whoSite, Err: err,
	}
}

// Check tells the first thing that makes a trust file ambiguous or open.
func (t Trust) Check() error {
	switch {
	case t.Site == "":
		return refuseTrust(CodeTrustInvalid, "site", "a site has an id", "", nil)
	case t.Name == "":
		return refuseTrust(CodeTrustInvalid, "name", "a site has the name that permits list", "", nil)
	case t.Isolation != broker.IsolationUserNS && t.Isolation != broker.IsolationNone:
		return refuseTrust(CodeTrustInvalid, "isolation", "is userns or none", string(t.Isolation), nil)
	case t.KeyEpochMin < 0:
		return refuseTrust(CodeTrustInvalid, "key_epoch_min", "is not negative", "", nil)
	case t.StatusMaxAge < time.Second || t.StatusMaxAge > 24*time.Hour || t.StatusMaxAge%time.Second != 0:
		return refuseTrust(CodeTrustInvalid, "status_max_age_seconds", "is between one second and a day", t.StatusMaxAge.String(), nil)
	}
	if err := t.checkKeys(); err != nil {
		return err
	}
	if err := t.checkDatasets(); err != nil {
		return err
	}
	return t.checkAccounts()
}

// checkKeys holds one key to one role, one entry and one meaning.
func (t Trust) checkKeys() error {
	for i, s := range t.Ledger {
		if _, err := ledgerKey(s); err != nil {
			return refuseTrust(CodeTrustInvalid, place("ledger", i), "is a note verifier key of Ed25519: origin+hash+key", s, err)
		}
	}
	seen := map[string]pinned{}
	for _, p := range t.pins() {
		id, err := dsse.KeyID(p.key)
		if err != nil {
			return refuseTrust(CodeTrustInvalid, p.at, "is ECDSA P-256 or Ed25519", "", err)
		}
		first, twice := seen[id]
		if twice && first.role != p.role {
			return refuseTrust(CodeKeyTwoRoles, p.at, "a key serves one role", first.at+" is the same key", nil)
		}
		if twice {
			return refuseTrust(CodeTrustInvalid, p.at, "a key is pinned once", first.at+" is the same key", nil)
		}
		seen[id] = p
	}
	return t.checkAuthorities()
}

func (t Trust) checkAuthorities() error {
	ids := map[string]bool{}
	for i, k := range t.Permit {
		at := place("permit", i)
		if k.KeyID == "" || k.Issuer == "" || ids[k.KeyID] {
			return refuseTrust(CodeTrustInvalid, at, "has a key id of its own and the authority's hdab_id", k.KeyID, nil)
		}
		if ps := k.Scope.Check(); len(ps) > 0 {
			return refuseTrust(CodeTrustInvalid, at+".scope."+ps[0].Field, ps[0].Help, ps[0].Value, nil)
		}
		ids[k.KeyID] = true
	}
	ids = map[string]bool{}
	for i, k := range t.Status {
		if k.KeyID == "" || k.Issuer == "" || ids[k.KeyID] {
			return refuseTrust(CodeTrustInvalid, place("status", i), "has a key id of its own and the authority's hdab_id", k.KeyID, nil)
		}
		ids[k.KeyID] = true
	}
	for i, o := range t.Officer {
		if o.Person == "" {
			return refuseTrust(CodeTrustInvalid, place("officer", i), "names the person whose key it is", "", nil)
		}
	}
	return nil
}

func (t Trust) checkDatasets() error {
	seen := map[string]bool{}
	for i, d := range t.Datasets {
		at := fmt.Sprintf("datasets[%d]", i)
		switch {
		case d.PURI == "" || d.Version == "" || d.Holder == "" || d.Country == "":
			return refuseTrust(CodeTrustInvalid, at, "has a persistent URI, version, holder and country", d.PURI, nil)
		case !filepath.IsAbs(d.Path) || filepath.Clean(d.Path) != d.Path || d.Path == "/":
			return refuseTrust(CodeTrustInvalid, at+".path", "is an absolute path in its shortest form", d.Path, nil)
		case !d.Digest.Valid():
			return refuseTrust(CodeTrustInvalid, at+".digest", "is sha256: and 64 lower-case hexadecimal digits", string(d.Digest), nil)
		case seen[d.PURI+"\x00"+d.Version]:
			return refuseTrust(CodeTrustInvalid, at, "each dataset and version is registered once", d.PURI, nil)
		}
		seen[d.PURI+"\x00"+d.Version] = true
	}
	return nil
}

// checkAccounts holds each account to exactly one natural person (promise P11).
func (t Trust) checkAccounts() error {
	seen := map[string]bool{}
	for _, person := range sortedPersons(t.Accounts) {
		account := t.Accounts[person]
		if person == "" || account == "" || strings.ContainsAny(account, "/\x00\n :") {
			return refuseTrust(CodeTrustInvalid, "accounts", "maps a person to an account", account, nil)
		}
		if seen[account] {
			return refuseTrust(CodeAccountTwice, "accounts", "an account is of exactly one natural person", account, nil)
		}
		seen[account] = true
	}
	return nil
}

// verifiers are the ledger keys; those that do not parse are left out.
func (t Trust) verifiers() []note.Verifier {
	var vs []note.Verifier
	for _, s := range t.Ledger {
		if v, err := note.NewVerifier(s); err == nil {
			vs = append(vs, v)
		}
	}
	return vs
}

// ledgerKey is the key in a note verifier key, so that it can be compared with
// the keys of other roles.
func ledgerKey(s string) (crypto.PublicKey, error) {
	if _, err := note.NewVerifier(s); err != nil {
		return nil, err
	}
	// name+hash+base64(algorithm byte, key); neither name nor hash has a plus.
	parts := strings.SplitN(s, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not of three parts")
	}
	b, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize {
		return nil, errors.New("not an Ed25519 key")
	}
	return ed25519.PublicKey(b[1:]), nil
}
