// Package lab starts and ends the Slurm of this folder for integration tests:
// a real cluster of four nodes with emulated GPUs on this machine's loopback.
//
//	Start ─▶ deploy/lab/up ─▶ env.json ─▶ Lab     Lab.Stop ─▶ deploy/lab/down
//
// It decides nothing: the two scripts hold all that is known about the cluster.
// A test binary starts one lab and shares it between its tests; should the
// binary die, a watcher that up leaves behind takes the lab down. The scripts
// work as root only, on Debian, and install what they need by themselves; Start
// says so in its error elsewhere.
//
// Tests kill, pause and begin its daemons, and let launches fail on a node, with
// control.go: by the pids and start times that up wrote down, never by name, so
// that no lab touches what another one runs.
//
// It knows nothing of this project. Start at lab.go.
package lab
