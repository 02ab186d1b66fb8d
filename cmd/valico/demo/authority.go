package demo

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

// The persons of the story.
const (
	Developer  broker.PersonID = "ada@biotech.example"
	Colleague  broker.PersonID = "ben@biotech.example"
	Reviewer   broker.PersonID = "rita@authority.example"
	OperatorID broker.PersonID = "operator@localhost"
)

// DatasetPrefix is where the story's authority may give access to data.
const DatasetPrefix = "https://data.example/dataset/"

// Dataset is the synthetic cohort's persistent URI.
const Dataset = DatasetPrefix + "synthetic-screening"

// Authority is a permit authority of the story's own making, trusted for
// synthetic data alone.
type Authority struct {
	Dir      string // holds the key files
	permit   crypto.Signer
	status   crypto.Signer
	reviewer crypto.Signer
}

// NewAuthority makes an authority with one key per role and writes its key
// files and authorities.json, the file that brokers and sites pin, to dir.
func NewAuthority(dir string) (*Authority, error) {
	a := &Authority{Dir: dir}
	for name, to := range map[string]*crypto.Signer{"permit": &a.permit, "status": &a.status, "reviewer": &a.reviewer} {
		k, err := dsse.GenerateKey()
		if err != nil {
			return nil, err
		}
		pem, err := dsse.MarshalPrivatePEM(k)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(a.KeyFile(name), pem, 0o600); err != nil {
			return nil, fmt.Errorf("write the %s key: %w", name, err)
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
	if err := os.WriteFile(a.AuthoritiesFile(), b, 0o600); err != nil {
		return nil, fmt.Errorf("write the authorities: %w", err)
	}
	return a, nil
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
	doc := permit.Template(time.Now())
	return order.Authorities{
		Permit: []permit.TrustedIssuer{{KeyID: pid, Public: a.permit.Public(), Issuer: doc.Issuer.HDAB, Scope: permit.Scope{
			Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{DatasetPrefix},
			Holders: []string{doc.Datasets[0].Holder}, SyntheticOnly: true,
		}}},
		Status:  []permit.TrustedStatusKey{{KeyID: sid, Public: a.status.Public(), Issuer: doc.Issuer.HDAB}},
		Officer: []order.Officer{{Person: Reviewer, Key: a.reviewer.Public()}},
	}, nil
}

// Document is the story's permit: a year of training on the synthetic cohort
// at one site, for the developer and a colleague.
func (a *Authority) Document(now time.Time, site string) permit.Document {
	doc := permit.Template(now)
	ada := doc.Persons[0]
	ben := ada
	ben.ID, ben.Name, ben.Role = string(Colleague), "Ben Example", "ANALYST"
	doc.Persons = append(doc.Persons, ben)
	doc.SPE.Sites = []string{site}
	return doc
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
	return order.SignRelease(airlock.Statement{Attempt: attempt, Manifest: manifest, Reviewer: Reviewer}, at, a.reviewer)
}
