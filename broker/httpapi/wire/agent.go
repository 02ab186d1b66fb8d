package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// AgentKeys are the public keys of a remote site's agent, as valico agent init
// writes them down.
type AgentKeys struct {
	Key    string `json:"key" minLength:"1" maxLength:"4096" doc:"PEM, of the agent's answers and tickets."`
	SignIn string `json:"sign_in" pattern:"^U[A-Z2-7]{55}$" doc:"Public user nkey, of its sign-in to NATS."`
}

// BrokerRecord is what a remote site pins of its broker.
type BrokerRecord struct {
	Schema string `json:"schema" enum:"valico-broker/v1" example:"valico-broker/v1"`
	Site   string `json:"site" example:"site_0123456789abcdefghjkmnpqrs"`
	Name   string `json:"name" example:"leo"`
	URL    string `json:"url" format:"uri" example:"https://broker.example"`
	Order  string `json:"order" doc:"PEM"`
	Image  string `json:"image" doc:"PEM"`
	Link   string `json:"link" doc:"PEM"`
	Ledger string `json:"ledger" doc:"Verifier key of a signed note."`
}

// SchemaBrokerRecord is the version of BrokerRecord.
const SchemaBrokerRecord = "valico-broker/v1"

// NewBrokerRecord is the form in which a record travels.
func NewBrokerRecord(r broker.Counterpart) BrokerRecord {
	return BrokerRecord{
		Schema: SchemaBrokerRecord, Site: string(r.Site), Name: r.Name, URL: r.URL, Order: string(r.Order), Image: string(r.Image),
		Link: string(r.Link), Ledger: r.Ledger,
	}
}

// SiteAgent is the agent of a remote site as the broker knows it.
type SiteAgent struct {
	Agent      AgentKeys    `json:"agent"`
	EnrolledBy string       `json:"enrolled_by"`
	EnrolledAt time.Time    `json:"enrolled_at"`
	Broker     BrokerRecord `json:"broker"`
	Alerts     []SiteAlert  `json:"alerts" nullable:"false"`
}

// SiteAlert is something that a site's agent refused.
type SiteAlert struct {
	ID      string    `json:"id"`
	Code    string    `json:"code" example:"request_key_unknown"`
	Method  string    `json:"method,omitempty" example:"start"`
	Attempt string    `json:"attempt,omitempty"`
	Key     string    `json:"key,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Count   int64     `json:"count" example:"1"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// NewSiteAlerts is the form in which alerts travel.
func NewSiteAlerts(as []broker.SiteAlert) []SiteAlert {
	out := make([]SiteAlert, 0, len(as))
	for _, a := range as {
		out = append(out, SiteAlert{
			ID: string(a.ID), Code: a.Code, Method: a.Method, Attempt: string(a.Attempt), Key: a.Key, Detail: a.Detail,
			Count: a.Count, First: a.First, Last: a.Last,
		})
	}
	return out
}
