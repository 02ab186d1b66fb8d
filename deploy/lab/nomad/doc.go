// Package nomadlab starts and ends a real Nomad agent for integration tests: one
// server and client with ACLs, emulated GPUs and accounts of its own, on this
// machine's loopback.
//
//	Start ─▶ build once (deploy/tools/nomad) ─▶ namespaces ─▶ agent ─▶ token, GPUs ─▶ Lab     Lab.Stop
//
// The agent is version 1.6.1, the last under the MPL: a test tool, built from its
// Go module into the user's cache and never linked into a program of ours. The
// first build on a machine takes some minutes, the next start a few seconds.
//
// Everything runs in a PID and a mount namespace: its first process keeps the
// agent running and gives it accounts that this machine does not have. When that
// process ends, as it does with the test binary, the kernel ends everything
// inside, tasks included, and with the last one go the mounts. A folder that was
// left behind is removed by the next Start.
//
// SecondNode adds a node in a pool of its own, for tests that lose it.
//
// It works as root only, and says so elsewhere; the first build needs a C
// compiler. It knows nothing of this project. Start at lab.go.
package nomadlab
