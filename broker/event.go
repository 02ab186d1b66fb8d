package broker

import "time"

// Event kinds.
const (
	EventState  = "state"  // Text is the new state of the job or attempt (Name: "job" or "attempt")
	EventMetric = "metric" // Name, Value, Step
	EventLog    = "log"    // Name is "stdout" or "stderr", Text one line
	EventNotice = "notice" // Name is a code, Text words for people: cuts, losses, waiting reasons
)

// Event is one telemetry record or one change of state. The source numbers its
// events per attempt from 1 without gaps; (Attempt, Source, Seq) is its
// identity, so a resent event is dropped by whoever has seen it.
type Event struct {
	Cursor  int64 // position in the projection; 0 until projected
	Tenant  TenantID
	Job     JobID
	Attempt AttemptID // "" for events of the job
	Site    SiteID    // "" for events of the broker
	Source  string    // "site" or "broker"
	Seq     uint64
	Kind    string
	Name    string
	Value   float64
	Step    int64
	Text    string
	At      time.Time
}

// OutboxEvent is an event that a transaction wrote beside the change it tells
// of, waiting to be sent. ID orders the outbox.
type OutboxEvent struct {
	ID    int64
	Event Event
}
