//go:build killpoints

package main

import (
	"os"
	"syscall"
)

// killpoint is where a test build dies by KILL when the environment names the
// point: order_read, order_verified, start_marked, spool_started, unpacked,
// sandbox_started, outcome_written.
func killpoint(name string) {
	if os.Getenv("VALICO_EXEC_KILLPOINT") != name {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	<-make(chan struct{}) // until the signal is delivered
}
