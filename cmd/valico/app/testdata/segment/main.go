// Segment is the workload of the tests of jobs that go on in segments and on
// several nodes.
//
//	segment count N        adds one to /ckpt; ends with 85 until there are N
//	segment signal N       the same, but only once its signal came
//	segment allreduce      sums vectors over all ranks, in a ring over TCP
//	segment rank-fails     rank 1 ends with 7, the others wait
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

func main() {
	var err error
	code := 0
	switch os.Args[1] {
	case "count", "signal":
		code, err = count(os.Args[2], os.Args[1] == "signal")
	case "allreduce":
		err = allreduce()
	case "rank-fails": // the others would wait for ever
		if os.Getenv("RANK") == "1" {
			os.Exit(7)
		}
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		<-c
		os.Exit(9)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func count(until string, waits bool) (int, error) {
	n, err := strconv.Atoi(until)
	if err != nil {
		return 0, err
	}
	at := filepath.Join(os.Getenv("VALICO_CKPT"), "n")
	have, err := os.ReadFile(at)
	if err != nil && !os.IsNotExist(err) {
		return 0, err
	}
	if waits && len(have)+1 < n {
		c := make(chan os.Signal, 2)
		signal.Notify(c, syscall.SIGUSR1)
		signal.Ignore(syscall.SIGTERM) // a scheduler may send it with the other
		fmt.Println("waiting")
		<-c
	}
	have = append(have, 'x')
	if err := os.WriteFile(at+".new", have, 0o600); err != nil {
		return 0, err
	}
	if err := os.Rename(at+".new", at); err != nil {
		return 0, err
	}
	if len(have) < n {
		return 85, nil
	}
	return 0, os.WriteFile(filepath.Join(os.Getenv("VALICO_OUT"), "model.json"), have, 0o600)
}
