// Package faultproxy is a bad link between a program and the daemon it talks
// to, for tests: it forwards byte streams on loopback and spoils them as told.
//
//	program ─▶ Proxy.Addr ─ delay, freeze, cut, reset, lost answer, other words ─▶ daemon
//
// It knows no protocol: what it does, it does to bytes and connections, so it
// stands before HTTP, before Slurm's own wire and before NATS alike. A lost
// answer is one that the daemon gave: the request went through, the first bytes
// of the answer are thrown away and the connection is reset. Nothing is ever
// sent twice or out of order, as TCP has it.
//
// A fault holds until it is taken back, for connections that are open and for
// new ones. Chances are drawn from a seed that the caller gives and prints.
//
// It knows nothing of this project and needs the standard library alone. Start
// at proxy.go, then pump.go. Its tests run it before an echo server.
package faultproxy
