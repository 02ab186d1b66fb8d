package order

import (
	"crypto"
	"slices"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

// TrustSchema is the version of SITE/trust.json.
const TrustSchema = "valico-trust/v1"

// Trust is what a site pins: whose statements it believes, for what, and which
// data and accounts it has. It is the site's own; the broker cannot change it.
type Trust struct {
	Site broker.SiteID
	// Name is the site's name as permits list it.
	Name      string
	Isolation broker.Isolation
	// KeyEpochMin refuses orders of older key epochs.
	KeyEpochMin  int
	StatusMaxAge time.Duration

	// Keys by role: ECDSA P-256 or Ed25519.
	Order   []crypto.PublicKey
	Permit  []permit.TrustedIssuer
	Status  []permit.TrustedStatusKey
	Image   []crypto.PublicKey
	Ledger  []string // note verifier keys, "origin+hash+key"
	Officer []Officer
	Link    []crypto.PublicKey // may ask this site's agent; none unless the agent is remote

	Datasets []Dataset
	Accounts map[broker.PersonID]string
}

// For is the part of the trust that the node needs for one order: every key,
// but of the accounts only the submitter's and of the datasets only those that
// the order mounts. It lies in the attempt's folder, for that account alone,
// because the whole names persons and datasets that the node's other users
// shall not learn of (promise P12).
func (t Trust) For(o broker.WorkOrder) Trust {
	all := t
	t.Accounts, t.Datasets, t.Officer, t.Link = map[broker.PersonID]string{}, nil, nil, nil
	if account, ok := all.Accounts[o.Submitter]; ok {
		t.Accounts[o.Submitter] = account
	}
	for _, m := range o.Mounts {
		if d, ok := all.dataset(m.PURI, m.Version); ok && !slices.Contains(t.Datasets, d) {
			t.Datasets = append(t.Datasets, d)
		}
	}
	return t
}

// Officer is a person who may sign releases, with their own key.
type Officer struct {
	Person broker.PersonID
	Key    crypto.PublicKey
}

// Dataset is an entry of the site's dataset registry.
type Dataset struct {
	PURI      string
	Version   string
	Path      string
	Digest    broker.Digest
	Holder    string
	Country   string
	Synthetic bool
}

// Role is what a pinned key may sign.
type Role string

// The roles of keys at a site.
const (
	RoleOrder   Role = "order"
	RolePermit  Role = "permit"
	RoleStatus  Role = "status"
	RoleImage   Role = "image"
	RoleLedger  Role = "ledger"
	RoleOfficer Role = "officer"
	RoleLink    Role = "link"
)

// pinned is one key as it stands in a trust file.
type pinned struct {
	role Role
	at   string // where it stands, for errors
	key  crypto.PublicKey
}

// pins lists every key with its role. Ledger keys that do not parse are left
// out: check tells them.
func (t Trust) pins() []pinned {
	var all []pinned
	for i, k := range t.Order {
		all = append(all, pinned{RoleOrder, place("order", i), k})
	}
	for i, k := range t.Permit {
		all = append(all, pinned{RolePermit, place("permit", i), k.Public})
	}
	for i, k := range t.Status {
		all = append(all, pinned{RoleStatus, place("status", i), k.Public})
	}
	for i, k := range t.Image {
		all = append(all, pinned{RoleImage, place("image", i), k})
	}
	for i, s := range t.Ledger {
		if k, err := ledgerKey(s); err == nil {
			all = append(all, pinned{RoleLedger, place("ledger", i), k})
		}
	}
	for i, k := range t.Officer {
		all = append(all, pinned{RoleOfficer, place("officer", i), k.Key})
	}
	for i, k := range t.Link {
		all = append(all, pinned{RoleLink, place("link", i), k})
	}
	return all
}

// keyOf finds a pinned key by its id (dsse.KeyID).
func (t Trust) keyOf(id string) (pinned, bool) {
	for _, p := range t.pins() {
		if have, err := dsse.KeyID(p.key); err == nil && have == id {
			return p, true
		}
	}
	return pinned{}, false
}

// RoleOf is the role that a key, named as dsse.KeyID names it, is pinned for.
func (t Trust) RoleOf(id string) (Role, crypto.PublicKey, bool) {
	p, ok := t.keyOf(id)
	return p.role, p.key, ok
}

// dataset returns the registry's entry of exactly that dataset and version.
func (t Trust) dataset(puri, version string) (Dataset, bool) {
	for _, d := range t.Datasets {
		if d.PURI == puri && d.Version == version {
			return d, true
		}
	}
	return Dataset{}, false
}
