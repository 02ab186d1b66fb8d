package order

import (
	"crypto"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

// maxTrustBytes bounds trust.json.
const maxTrustBytes = 16 << 20

type trustFile struct {
	Schema              string           `json:"schema"`
	Site                string           `json:"site"`
	Name                string           `json:"name"`
	Isolation           broker.Isolation `json:"isolation"`
	KeyEpochMin         int              `json:"key_epoch_min"`
	StatusMaxAgeSeconds int64            `json:"status_max_age_seconds"`
	Keys                trustKeys        `json:"keys"`
	Datasets            []trustDataset   `json:"datasets"`
	Accounts            []trustAccount   `json:"accounts"`
}

type trustKeys struct {
	Order   []trustKey     `json:"order"`
	Permit  []trustIssuer  `json:"permit"`
	Status  []trustStatus  `json:"status"`
	Image   []trustKey     `json:"image"`
	Ledger  []string       `json:"ledger"`
	Officer []trustOfficer `json:"officer"`
	Link    []trustKey     `json:"link,omitempty"`
}

type trustKey struct {
	PEM string `json:"pem"`
}

type trustIssuer struct {
	KeyID  string     `json:"key_id"`
	Issuer string     `json:"issuer"`
	PEM    string     `json:"pem"`
	Scope  trustScope `json:"scope"`
}

type trustScope struct {
	Regimes         []string `json:"regimes"`
	DatasetPrefixes []string `json:"dataset_prefixes"`
	Holders         []string `json:"holders"`
	SyntheticOnly   bool     `json:"synthetic_only"`
}

type trustStatus struct {
	KeyID  string `json:"key_id"`
	Issuer string `json:"issuer"`
	PEM    string `json:"pem"`
}

type trustOfficer struct {
	Person string `json:"person"`
	PEM    string `json:"pem"`
}

type trustDataset struct {
	PURI      string        `json:"puri"`
	Version   string        `json:"version"`
	Path      string        `json:"path"`
	Digest    broker.Digest `json:"digest"`
	Holder    string        `json:"holder"`
	Country   string        `json:"country"`
	Synthetic bool          `json:"synthetic"`
}

type trustAccount struct {
	Person  string `json:"person"`
	Account string `json:"account"`
}

// LoadTrust reads and checks a trust file.
func LoadTrust(path string) (Trust, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own
	if err != nil {
		return Trust{}, fmt.Errorf("open trust: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(f, maxTrustBytes+1))
	if err != nil {
		return Trust{}, fmt.Errorf("read trust: %w", err)
	}
	return ParseTrust(b)
}

// ParseTrust reads trust.json strictly and checks it.
func ParseTrust(b []byte) (Trust, error) {
	if len(b) > maxTrustBytes {
		return Trust{}, refuseTrust(CodeTrustInvalid, "trust.json", "has at most 16 MiB", "", nil)
	}
	var f trustFile
	if err := json.Unmarshal(b, &f, json.RejectUnknownMembers(true)); err != nil {
		return Trust{}, refuseTrust(CodeTrustInvalid, "trust.json", "is JSON of schema "+TrustSchema, "", err)
	}
	if f.Schema != TrustSchema {
		return Trust{}, refuseTrust(CodeTrustInvalid, "schema", "is "+TrustSchema, f.Schema, nil)
	}
	if f.StatusMaxAgeSeconds < 0 || f.StatusMaxAgeSeconds > 1e9 {
		return Trust{}, refuseTrust(CodeTrustInvalid, "status_max_age_seconds", "is between one second and a day", "", nil)
	}
	t := Trust{
		Site: broker.SiteID(f.Site), Name: f.Name, Isolation: f.Isolation, KeyEpochMin: f.KeyEpochMin,
		StatusMaxAge: time.Duration(f.StatusMaxAgeSeconds) * time.Second, Ledger: f.Keys.Ledger,
	}
	if err := f.Keys.into(&t); err != nil {
		return Trust{}, err
	}
	for _, d := range f.Datasets {
		t.Datasets = append(t.Datasets, Dataset(d))
	}
	t.Accounts = map[broker.PersonID]string{}
	for _, a := range f.Accounts {
		if _, twice := t.Accounts[broker.PersonID(a.Person)]; twice {
			return Trust{}, refuseTrust(CodeTrustInvalid, "accounts", "each person has one account", a.Person, nil)
		}
		t.Accounts[broker.PersonID(a.Person)] = a.Account
	}
	if err := t.Check(); err != nil {
		return Trust{}, err
	}
	return t, nil
}

// into reads the PEM of every key.
func (k trustKeys) into(t *Trust) error {
	var bad error
	read := func(list string, i int, pem string) crypto.PublicKey {
		key, err := dsse.ParsePublicPEM([]byte(pem))
		if err != nil && bad == nil {
			bad = refuseTrust(CodeTrustInvalid, place(list, i)+".pem", "is one PEM block PUBLIC KEY", "", err)
		}
		return key
	}
	for i, e := range k.Order {
		t.Order = append(t.Order, read("order", i, e.PEM))
	}
	for i, e := range k.Permit {
		t.Permit = append(t.Permit, permit.TrustedIssuer{
			KeyID: e.KeyID, Issuer: e.Issuer, Public: read("permit", i, e.PEM), Scope: permit.Scope(e.Scope),
		})
	}
	for i, e := range k.Status {
		t.Status = append(t.Status, permit.TrustedStatusKey{KeyID: e.KeyID, Issuer: e.Issuer, Public: read("status", i, e.PEM)})
	}
	for i, e := range k.Image {
		t.Image = append(t.Image, read("image", i, e.PEM))
	}
	for i, e := range k.Officer {
		t.Officer = append(t.Officer, Officer{Person: broker.PersonID(e.Person), Key: read("officer", i, e.PEM)})
	}
	for i, e := range k.Link {
		t.Link = append(t.Link, read("link", i, e.PEM))
	}
	return bad
}

// EncodeTrust writes trust.json, indented for people, after checking it.
func EncodeTrust(t Trust) ([]byte, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	f := trustFile{
		Schema: TrustSchema, Site: string(t.Site), Name: t.Name, Isolation: t.Isolation, KeyEpochMin: t.KeyEpochMin,
		StatusMaxAgeSeconds: int64(t.StatusMaxAge / time.Second), Keys: trustKeys{Ledger: t.Ledger},
	}
	if err := f.Keys.from(t); err != nil {
		return nil, err
	}
	for _, d := range t.Datasets {
		f.Datasets = append(f.Datasets, trustDataset(d))
	}
	for _, person := range sortedPersons(t.Accounts) {
		f.Accounts = append(f.Accounts, trustAccount{Person: string(person), Account: t.Accounts[person]})
	}
	b, err := json.Marshal(f, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("encode trust: %w", err)
	}
	return append(b, '\n'), nil
}

func (k *trustKeys) from(t Trust) error {
	var bad error
	text := func(key crypto.PublicKey) string {
		b, err := dsse.MarshalPublicPEM(key)
		if err != nil && bad == nil {
			bad = fmt.Errorf("encode trust: %w", err)
		}
		return string(b)
	}
	for _, e := range t.Order {
		k.Order = append(k.Order, trustKey{PEM: text(e)})
	}
	for _, e := range t.Permit {
		k.Permit = append(k.Permit, trustIssuer{KeyID: e.KeyID, Issuer: e.Issuer, PEM: text(e.Public), Scope: trustScope(e.Scope)})
	}
	for _, e := range t.Status {
		k.Status = append(k.Status, trustStatus{KeyID: e.KeyID, Issuer: e.Issuer, PEM: text(e.Public)})
	}
	for _, e := range t.Image {
		k.Image = append(k.Image, trustKey{PEM: text(e)})
	}
	for _, e := range t.Officer {
		k.Officer = append(k.Officer, trustOfficer{Person: string(e.Person), PEM: text(e.Key)})
	}
	for _, e := range t.Link {
		k.Link = append(k.Link, trustKey{PEM: text(e)})
	}
	return bad
}

func sortedPersons(m map[broker.PersonID]string) []broker.PersonID {
	out := make([]broker.PersonID, 0, len(m))
	for p := range m {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
