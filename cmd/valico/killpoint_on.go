//go:build killpoints

package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// killpoint ends the process with SIGKILL when it passes the point that
// VALICO_KILL_AT names, "name" or "name:N" for the Nth time. Only builds with
// the tag killpoints have it: the kill tests attack those.
func killpoint(getenv func(string) string) func(string) {
	at, nth, _ := strings.Cut(getenv("VALICO_KILL_AT"), ":")
	left, err := strconv.Atoi(nth)
	if err != nil {
		left = 1
	}
	passed := make(chan int, 1)
	passed <- left
	return func(name string) {
		if name != at {
			return
		}
		n := <-passed - 1
		passed <- n
		if n == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // never reached by a living process
		}
	}
}
