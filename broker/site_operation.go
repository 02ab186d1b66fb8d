package broker

import "time"

// SiteState says what an operator lets happen at a site.
type SiteState string

// The states of a site. Every site begins open.
const (
	// SiteOpen: jobs are admitted and start.
	SiteOpen SiteState = "open"
	// SiteCordoned: jobs are admitted and wait at the broker; what runs goes on.
	SiteCordoned SiteState = "cordoned"
	// SiteDraining: no job is admitted, nothing starts, what is queued at the
	// site ends as cancelled with CodeSiteDrained; what runs goes on.
	SiteDraining SiteState = "draining"
	// SiteDrained: draining, and nothing of ours is left there. It is never
	// stored: it follows from SiteDraining and what the site holds.
	SiteDrained SiteState = "drained"
)

// Acts of an operator on a site.
const (
	ActCordon = "cordon"
	ActDrain  = "drain"
	ActResume = "resume"
)

// SiteOperation is the state that an operator gave a site. The zero value is
// that of a site that nobody ever closed: open, version 0.
type SiteOperation struct {
	State   SiteState // "" is SiteOpen; never SiteDrained
	By      PersonID
	Reason  string
	Since   time.Time
	Until   time.Time // when the operator expects to open it; zero when not said; nothing happens by itself
	Version int64     // for optimistic locking: the number of acts
}

// Starts reports whether new work may start at the site. A state that is not
// known starts nothing.
func (o SiteOperation) Starts() bool { return o.State == SiteOpen || o.State == "" }

// Admits reports whether a job may be admitted to the site.
func (o SiteOperation) Admits() bool { return o.Starts() || o.State == SiteCordoned }

// Seen is the state as people read it: SiteDrained for a site that is draining
// and holds nothing.
func (o SiteOperation) Seen(l SiteLoad) SiteState {
	switch {
	case o.State == "":
		return SiteOpen
	case o.State == SiteDraining && l.There() == 0:
		return SiteDrained
	}
	return o.State
}

// SiteLoad counts a site's attempts that are not over.
type SiteLoad struct {
	Waiting int // at the broker
	Queued  int // handed to the site and not begun
	Running int // begun and not sealed
}

// There is how many the site holds.
func (l SiteLoad) There() int { return l.Queued + l.Running }

// SiteAct is one act of an operator on a site, as the ledger keeps it.
type SiteAct struct {
	Site        SiteID
	Version     int64 // of the operation after it
	Act         string
	By          PersonID
	Reason      string
	Until       time.Time
	Document    []byte // the exact bytes that the ledger commits to
	LedgerIndex int64
	At          time.Time
}

// After is the operation that an act leaves.
func (a SiteAct) After() SiteOperation {
	o := SiteOperation{By: a.By, Reason: a.Reason, Since: a.At, Until: a.Until, Version: a.Version}
	switch a.Act {
	case ActCordon:
		o.State = SiteCordoned
	case ActDrain:
		o.State = SiteDraining
	case ActResume:
		o.State = SiteOpen
	}
	return o
}

// Codes of what a closed site does not do.
const (
	// CodeSiteDraining: no job is admitted to the site.
	CodeSiteDraining = "site_draining"
	// CodeSiteClosed: nothing new starts at the site.
	CodeSiteClosed = "site_closed"
	// CodeSiteDrained: an attempt that had not begun ended because the site is being emptied.
	CodeSiteDrained = "site_drained"
)

// Admission is an error unless jobs are admitted to the site now. It is no
// decision on the job: the same job may be admitted when the site is open.
func (s Site) Admission() error {
	if s.Operation.Admits() {
		return nil
	}
	o := s.Operation
	value := s.Name + " since " + o.Since.UTC().Format(time.RFC3339)
	if !o.Until.IsZero() {
		value += ", expected to open " + o.Until.UTC().Format(time.RFC3339)
	}
	return &Error{
		Kind: KindUnavailable, Code: CodeSiteDraining, Message: "the site takes no job now: " + o.Reason, Value: value,
		Rule: "an operator is emptying the site; nothing was decided on the job",
		Help: "submit it for another site, or when this one is open again: valico site show " + s.Name, Who: "the site operator",
	}
}
