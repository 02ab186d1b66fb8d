// Package app is the broker as one process: it opens the record, starts the
// embedded parts and joins each package's ports to the packages that satisfy
// them. There are no domain rules here; the only decisions are which part a
// port is given.
//
//	Open ─▶ keys, store, ledger, policy engine, NATS, image stores, sites' agents
//	Run  ─▶ one errgroup: HTTP, dispatch, relay, projector, one agent per site
//
// AgentProcess is the agent of a remote site as one process, from a configuration
// and a trust folder of the site's own (agent.go); schedulers makes the adapter of
// a scheduler for it and for the broker's own sites alike. The broker's end of a
// remote site is remote.go, what sites can reach of a broker agents.go.
//
// Open fails before anything is served when a part cannot be had: a broker
// without its ledger or its policy engine admits nothing. One process owns a
// data folder, held by a lock on it.
//
// Start at app.go. The package is tested by running it: the script and
// integration tests of cmd/valico start real brokers in folders of their own.
package app
