// Package telemetry carries events over NATS JetStream: from sites and from
// the record's outbox to the projection, and wakes whoever waits for them.
//
//	site agent ── Publisher ──▶ tel.<site>.<tenant>.<job>.<attempt>.<kind> ─┐ stream TEL
//	outbox ─ Relay ─ Publisher ▶ evt.<tenant>.<job> ──────────────────────┐ │ stream EVT
//	                                                                      ▼ ▼
//	            Hub ◀── wake ── Projector ── ApplyEvents (SQL high-water mark)
//
// There are two streams because they lose differently: TEL drops the oldest
// when it is full or after its retention, EVT refuses new events when it is
// full, and the outbox then waits. SQL is the record; a stream is never the
// only copy of a fact for longer than the way to the projection takes.
//
// Two invariants must never break: an event reaches the projection at most
// once and in the order of its numbers per attempt and source, by the high-water
// mark in SQL and not by the streams' duplicate window, which is finite; and a
// site can speak for itself alone: its user may publish tel.<site>.> and its
// answers of the link, read its own acknowledgements and requests, and nothing
// else, and an event whose body disagrees with its subject is thrown away.
//
// Sites in this process sign in with random passwords on loopback; agents of
// remote sites through a websocket under TLS, with a key that was pinned when
// the agent was enrolled (remote.go). What they are asked is package link's.
//
// Every id in a subject is opaque (promise P12). A message that cannot be read
// is counted and ended, never delivered again; one that leaves a gap is given
// back with a delay, counted, and applied when the missing one came. While NATS
// is away Publish fails, the outbox keeps its rows and the agents their spools;
// connections come back by themselves.
//
// The package knows no SQL, no HTTP routes and no site. Start reading at subject.go,
// then publisher.go and projector.go. Tests run a NATS server in the process,
// restart it in the middle and watch what arrives.
package telemetry
