// Package httpapi is the broker's HTTP interface: routes, who may use them, and
// the one way in which an error leaves.
//
// It may not know SQL, policy, schedulers or signature formats: it parses, asks
// one of the ports of ports.go, and renders. No rule of the domain is here but
// who may call what.
//
//	request ─▶ request id ─▶ recover ─▶ log ─▶ deadline ─▶ mux ─▶ guard(rule)
//	        ─▶ parse ─▶ port ─▶ DTO of package wire | problem+json
//
// Two invariants must never break: a token and an error's cause appear in no
// answer and no log line, and a thing of another project looks exactly like
// one that does not exist.
//
// An error of a port becomes a problem of its kind; what is not a *broker.Error,
// and every panic, becomes "internal" with the request id to quote.
//
// The OpenAPI document is generated from the routes and committed as
// openapi.json; go generate writes it, a test compares it.
//
// Start at server.go, then route.go and one file per resource. Tests walk all
// routes, attack the error path, and drive the API through package client.
package httpapi
