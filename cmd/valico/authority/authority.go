// Package authority makes the keys of a permit authority for synthetic data and
// signs what it issues. The commands `valico permit authority` and the demo use
// it; a real authority keeps its keys elsewhere and needs none of this.
//
// One key per role: permits, their status, and each reviewer's own. What it
// makes is trusted for regime SANDBOX and nothing else.
package authority

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

// Scope says what an authority is trusted for.
type Scope struct {
	HDAB            string   // the authority's id, as its permits name it
	DatasetPrefixes []string // PURIs, see permit.Scope
	Holders         []string
	Reviewer        broker.PersonID
}

// Authority is a permit authority whose key files lie in one folder.
type Authority struct {
	Dir      string
	scope    Scope
	permit   crypto.Signer
	status   crypto.Signer
	reviewer crypto.Signer
}

// New makes one key per role and writes the key files and authorities.json, the
// file that brokers and sites pin, to dir. Files that are there are kept: it
// fails instead.
func New(dir string, s Scope) (*Authority, error) {
	a := &Authority{Dir: dir, scope: s}
	for role, to := range map[string]*crypto.Signer{"permit": &a.permit, "status": &a.status, "reviewer": &a.reviewer} {
		k, err := dsse.GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("make the %s key: %w", role, err)
		}
		pem, err := dsse.MarshalPrivatePEM(k)
		if err != nil {
			return nil, fmt.Errorf("make the %s key: %w", role, err)
		}
		if err := create(a.KeyFile(role), pem); err != nil {
			return nil, err
		}
		*to = k
	}
	pinned, err := a.pinned()
	if err != nil {
		return nil, err
	}
	b, err := order.EncodeAuthorities(pinned)
	if err != nil {
		return nil, err
	}
	return a, create(a.AuthoritiesFile(), b)
}

// create writes a file that is not there yet, for its owner alone.
func create(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the caller's own folder
	if errors.Is(err, fs.ErrExist) {
		return &broker.Error{
			Kind: broker.KindConflict, Code: "file_exists", Message: "a key file is never overwritten", Value: path,
			Rule: "what was signed with a key is worth as long as the key", Help: "name another folder", Who: "you",
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// KeyFile is the private key of a role: permit, status or reviewer.
func (a *Authority) KeyFile(role string) string { return filepath.Join(a.Dir, role+".key") }

// AuthoritiesFile is what a broker pins of this authority.
func (a *Authority) AuthoritiesFile() string { return filepath.Join(a.Dir, "authorities.json") }

func (a *Authority) pinned() (order.Authorities, error) {
	pid, err := permit.KeyID(a.permit.Public())
	if err != nil {
		return order.Authorities{}, err
	}
	sid, err := permit.KeyID(a.status.Public())
	if err != nil {
		return order.Authorities{}, err
	}
	return order.Authorities{
		Permit: []permit.TrustedIssuer{{KeyID: pid, Public: a.permit.Public(), Issuer: a.scope.HDAB, Scope: permit.Scope{
			Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: a.scope.DatasetPrefixes,
			Holders: a.scope.Holders, SyntheticOnly: true,
		}}},
		Status:  []permit.TrustedStatusKey{{KeyID: sid, Public: a.status.Public(), Issuer: a.scope.HDAB}},
		Officer: []order.Officer{{Person: a.scope.Reviewer, Key: a.reviewer.Public()}},
	}, nil
}

// Sign signs a permit.
func (a *Authority) Sign(doc permit.Document) (string, error) {
	kid, err := permit.KeyID(a.permit.Public())
	if err != nil {
		return "", err
	}
	return permit.Sign(doc, a.permit, kid)
}

// SignStatus states a permit's status as of a moment.
func (a *Authority) SignStatus(doc permit.Document, status string, at time.Time) (string, error) {
	kid, err := permit.KeyID(a.status.Public())
	if err != nil {
		return "", err
	}
	return permit.SignStatus(permit.Status{PermitID: doc.ID, Version: doc.Version, Status: status, At: at}, a.status, kid)
}

// SignRelease signs the release of a manifest as the reviewer would.
func (a *Authority) SignRelease(attempt broker.AttemptID, manifest broker.Digest, at time.Time) ([]byte, error) {
	return order.SignRelease(airlock.Statement{Attempt: attempt, Manifest: manifest, Reviewer: a.scope.Reviewer}, at, a.reviewer)
}
