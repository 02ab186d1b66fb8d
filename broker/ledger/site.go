package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// siteSchema is the version of siteDocument.
const siteSchema = "valico-site/v1"

// siteDocument is an operator's act on a site: the state after it, who did it
// and why.
type siteDocument struct {
	Schema  string `json:"schema"`
	Act     string `json:"act"`
	Site    string `json:"site"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Version int64  `json:"version"`
	By      string `json:"by"`
	Reason  string `json:"reason"`
	Until   string `json:"until"` // "" when not said
	At      string `json:"at"`
}

// EncodeSite writes an operator's act down as the ledger keeps it. Its version
// is that of the operation after it.
func EncodeSite(a broker.SiteAct, name string) ([]byte, error) {
	d := siteDocument{
		Schema: siteSchema, Act: a.Act, Site: string(a.Site), Name: name, State: string(a.After().State), Version: a.Version,
		By: string(a.By), Reason: a.Reason, At: receipt.Stamp(a.At.UTC().Truncate(time.Microsecond)),
	}
	if !a.Until.IsZero() {
		d.Until = receipt.Stamp(a.Until)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the act: %w", err)
	}
	return b, nil
}
