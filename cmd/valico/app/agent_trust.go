package app

import (
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/images/dsse"
)

// Files of an agent's folders.
const (
	authoritiesFile = "authorities.json"
	brokerFile      = "broker.json"
	agentKeyFile    = "agent.key"
	signInFile      = "sign-in.seed"
)

// ParseBrokerRecord reads what a broker's operator gave the site, strictly.
func ParseBrokerRecord(b []byte) (wire.BrokerRecord, error) {
	var r wire.BrokerRecord
	bad := func(rule string, err error) (wire.BrokerRecord, error) {
		return r, &broker.Error{
			Kind: broker.KindInvalid, Code: "broker_record_invalid", Message: "the broker's record is not understood", Rule: rule,
			Help: "ask the broker's operator for it: valico site agent SITE --broker-record FILE", Who: "the broker's operator", Err: err,
		}
	}
	if err := json.Unmarshal(b, &r, json.RejectUnknownMembers(true)); err != nil {
		return bad("JSON of schema "+wire.SchemaBrokerRecord, err)
	}
	u, err := url.Parse(r.URL)
	switch {
	case r.Schema != wire.SchemaBrokerRecord || r.Site == "" || r.Name == "":
		return bad("JSON of schema "+wire.SchemaBrokerRecord+" with site and name", nil)
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.User != nil:
		return bad("url is https://host[:port]", err)
	}
	for _, pem := range []string{r.Order, r.Image, r.Link} {
		if _, err := dsse.ParsePublicPEM([]byte(pem)); err != nil {
			return bad("order, image and link are public keys in PEM", err)
		}
	}
	return r, nil
}

// LoadBrokerRecord reads the record that the site pinned.
func (c AgentConfig) LoadBrokerRecord() (wire.BrokerRecord, error) {
	b, err := os.ReadFile(filepath.Join(c.Trust, brokerFile))
	if err != nil {
		return wire.BrokerRecord{}, &broker.Error{
			Kind: broker.KindInvalid, Code: "broker_unpinned", Message: "the site has not pinned its broker", Value: filepath.Join(c.Trust, brokerFile),
			Rule: "an agent obeys a broker whose keys its operator compared", Help: "valico agent pin BROKER.json --config FILE", Who: "the site operator", Err: err,
		}
	}
	return ParseBrokerRecord(b)
}

// PinBroker puts a broker's record into the trust folder.
func (c AgentConfig) PinBroker(record []byte) error {
	return writeNew(filepath.Join(c.Trust, brokerFile), record, 0o600)
}

// trustOf puts together what the site pins: the authorities and the broker from
// its trust folder, accounts and datasets from its configuration.
func (c AgentConfig) trustOf(r wire.BrokerRecord) (order.Trust, error) {
	auth, err := order.LoadAuthorities(filepath.Join(c.Trust, authoritiesFile))
	if err != nil {
		return order.Trust{}, fmt.Errorf("pin the authorities: %w", err)
	}
	t := order.Trust{
		Site: broker.SiteID(r.Site), Name: r.Name, Isolation: c.Isolation, KeyEpochMin: c.KeyEpochMin, StatusMaxAge: c.StatusMaxAge,
		Ledger: []string{r.Ledger}, Permit: auth.Permit, Status: auth.Status, Officer: auth.Officer, Accounts: c.Accounts,
	}
	for _, k := range []struct {
		to  *[]crypto.PublicKey
		pem string
	}{{&t.Order, r.Order}, {&t.Image, r.Image}, {&t.Link, r.Link}} {
		key, err := dsse.ParsePublicPEM([]byte(k.pem))
		if err != nil {
			return t, fmt.Errorf("pin the broker: %w", err)
		}
		*k.to = append(*k.to, key)
	}
	for _, d := range c.Datasets {
		t.Datasets = append(t.Datasets, order.Dataset(d))
	}
	return t, t.Check()
}

// checkDatasets hashes the site's datasets and refuses an entry whose digest is
// another's.
func (c AgentConfig) checkDatasets() error {
	var ds []broker.Dataset
	for _, d := range c.Datasets {
		ds = append(ds, broker.Dataset{PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: d.Digest})
	}
	return checkDatasets(ds)
}

// identities are as whom jobs may run here.
func (c AgentConfig) identities() agent.Identities {
	return agent.Identities{MinUID: c.MinUID, Self: os.Geteuid(), Lookup: lookup}
}

// checkPersons refuses accounts that may not own jobs. The scheduler local runs
// jobs as the agent itself, which therefore is one person's account.
func (c AgentConfig) checkPersons() error {
	if c.Scheduler == schedulerLocal && os.Geteuid() == 0 {
		return &broker.Error{
			Kind: broker.KindForbidden, Code: "account_system", Message: "the agent would run jobs as root",
			Rule: "the scheduler local runs jobs as the agent's own user, and no job runs as root", Help: "start the agent as the person's account",
			Who: "the site operator",
		}
	}
	return c.identities().Check(c.Accounts)
}

// AgentKeys makes the agent's keys where there are none yet, and returns the
// public halves.
func AgentKeys(state string, newSeed func() ([]byte, string, error), publicOf func([]byte) (string, error)) (wire.AgentKeys, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return wire.AgentKeys{}, fmt.Errorf("make the agent's folder: %w", err)
	}
	key, err := openSigner(filepath.Join(state, agentKeyFile))
	if err != nil {
		return wire.AgentKeys{}, err
	}
	pem, err := dsse.MarshalPublicPEM(key.Public())
	if err != nil {
		return wire.AgentKeys{}, err
	}
	path := filepath.Join(state, signInFile)
	seed, err := os.ReadFile(path) //nolint:gosec // the agent's own folder
	var public string
	if errors.Is(err, os.ErrNotExist) {
		if seed, public, err = newSeed(); err == nil {
			err = writeNew(path, seed, 0o600)
		}
	} else if err == nil {
		public, err = publicOf(seed)
	}
	if err != nil {
		return wire.AgentKeys{}, fmt.Errorf("read the sign-in key: %w", err)
	}
	return wire.AgentKeys{Key: string(pem), SignIn: public}, nil
}
