// Package link lets a broker speak with the agent of a remote site: signed
// requests and answers over NATS, to which the agent connects and never
// listens. Site is the broker's end and is a dispatch.Site and an airlock.Site;
// Responder is the agent's end and calls what would be called in one process.
//
//	broker: Site ── request (link key, deadline, nonce, site) ──▶ req.<site> ──▶ Responder ──▶ agent
//	        Site ◀── answer (agent's key, over the request) ── ans.<site>.<n> ── Responder
//	agent:  Dial ── wss, CONNECT proxy or Tunnel ──▶ NATS: tel.<site>.> by telemetry.Publisher
//
// NATS is not a trust boundary. Whoever runs it can lose, delay, repeat, reorder
// and invent messages, and gets refusals and time-outs: a request counts only
// with the signature of a key that the site pinned for the role link, before its
// deadline and once; an answer only with the signature of the key that the agent
// was enrolled with, over the very request that is waited for. A stolen link key
// may ask, but orders and releases are verified again with keys that the broker
// does not have (package order), so that it can stop work and look at states,
// and start nothing.
//
// Two invariants must never break: a request is handed to the agent at most
// once, over restarts of the agent too (guard.go keeps the nonces of requests
// that change something on the disk before they are obeyed); and an answer that
// is not proven to be of the agent, over this request, never becomes a result.
// What the link itself refuses or loses is KindUnavailable, "not known, ask
// again", never a refusal of the order: else a repeated message could end a job
// that runs.
//
// Telemetry is not signed: whoever runs NATS can tell stories in it, but what
// became of an attempt is known from reports alone, which are answers.
//
// Each refusal is counted and written down as an alert, in the agent's folder
// first (alert.go). The broker takes alerts up with a request of its own and
// acknowledges them with the next; the newest stay at the site all the same.
//
// The form of the messages has a version; both ends speak the highest that both
// know, and know the one before their own. One version has one encoding: an
// unknown or missing field refuses.
//
// The package knows no store and no scheduler. Start at message.go, then
// responder.go and site.go; dial.go, proxy.go and tunnel.go are the way out of a
// site. Tests run the same cases against an agent in this process and over a
// real NATS server that an attacker owns.
package link
