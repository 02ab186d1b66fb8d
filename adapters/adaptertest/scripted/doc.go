// Package scripted is a site for tests that does as it is told: a cluster on an
// injected clock, with the habits that real ones have, and an adapter to it that
// satisfies the port agent.Scheduler.
//
//	Plan of each launch ─┐
//	Script, by time ─────┼─▶ Cluster: queue, nodes, GPUs, accounting ◀─ Scheduler ◀─ agent, dispatch, benchmarks
//	faults, at once ─────┘
//
// The cluster puts launches back and starts them again, holds for ever what
// cannot start, says words that nobody knows, hangs, forgets its accounting and
// loses answers. The Scheduler must make of that what every adapter makes of it:
// the contract suite of package adaptertest runs on it with no case left out.
//
// Time passes only when somebody asks: each call first does what was due until
// then, in order, as if it had been done at its moment. There is no goroutine
// and no timer, so ten thousand launches cost a map and a heap, and within
// testing/synctest a day costs nothing. Launches run no process: a Plan says
// what one does. Nothing is random; who wants chance draws it in Config.Plan
// from a seed of his own.
//
// It knows no store, order or permit. Start at cluster.go, then scheduler.go.
package scripted
