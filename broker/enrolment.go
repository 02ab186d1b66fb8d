package broker

import "time"

// Enrolment is the agent that speaks for a remote site: the public halves of
// the keys that its operator made at the site. The broker holds no secret of it.
type Enrolment struct {
	Site   SiteID
	Key    []byte // of answers and tickets, PEM
	SignIn string // of the sign-in to NATS, a public user nkey
	By     PersonID
	At     time.Time
}

// Counterpart is what a remote site pins of its broker, and where it finds it.
type Counterpart struct {
	Site   SiteID
	Name   string // of the site
	URL    string // https://host[:port]
	Order  []byte // public keys by role, PEM
	Image  []byte
	Link   []byte
	Ledger string // verifier key of a signed note
}
