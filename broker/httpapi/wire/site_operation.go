package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// SiteOperation is what an operator lets happen at a site.
type SiteOperation struct {
	State   string     `json:"state" enum:"open,cordoned,draining,drained" doc:"cordoned: nothing new starts. draining: nothing is admitted either, and what is queued there ends. drained: draining and empty." example:"open"`
	By      string     `json:"by,omitempty" doc:"Shown to operators."`
	Reason  string     `json:"reason,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Until   *time.Time `json:"until,omitempty" doc:"When the operator expects to open it; nothing happens by itself."`
	Version int64      `json:"version" doc:"The number of acts; the ETag, for If-Match."`
	Waiting int        `json:"waiting" doc:"Jobs of everybody that wait for it at the broker."`
	Queued  int        `json:"queued" doc:"Handed to the site and not begun."`
	Running int        `json:"running"`
}

// SiteAct is one act of an operator. Each is a leaf of the ledger.
type SiteAct struct {
	Version     int64      `json:"version"`
	Act         string     `json:"act" enum:"cordon,drain,resume"`
	By          string     `json:"by"`
	Reason      string     `json:"reason"`
	Until       *time.Time `json:"until,omitempty"`
	LedgerIndex int64      `json:"ledger_index"`
	At          time.Time  `json:"at"`
}

// SiteChange is why an operator acts on a site.
type SiteChange struct {
	Reason string     `json:"reason" minLength:"1" maxLength:"1000" doc:"Kept in the ledger, and shown to whoever waits." example:"cooling is serviced"`
	Until  *time.Time `json:"until,omitempty" doc:"When the operator expects to open it again."`
}

// NewSiteOperation gives an operation as person sees it.
func NewSiteOperation(o broker.SiteOperation, l broker.SiteLoad, operator bool) *SiteOperation {
	w := &SiteOperation{
		State: string(o.Seen(l)), Reason: o.Reason, Since: moment(o.Since), Until: moment(o.Until), Version: o.Version,
		Waiting: l.Waiting, Queued: l.Queued, Running: l.Running,
	}
	if operator {
		w.By = string(o.By)
	}
	return w
}

// NewSiteAct gives an act as it travels.
func NewSiteAct(a broker.SiteAct) SiteAct {
	return SiteAct{
		Version: a.Version, Act: a.Act, By: string(a.By), Reason: a.Reason, Until: moment(a.Until), LedgerIndex: a.LedgerIndex, At: a.At,
	}
}
