// Command work is the workload of the tests.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	out := os.Getenv("VALICO_OUT")
	f, err := os.OpenFile(out+"/runs", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	check(err)
	_, err = f.WriteString("x")
	check(err)
	switch os.Args[1] {
	case "train":
		data, err := os.ReadFile(os.Getenv("VALICO_DATA") + "/cohort/rows.csv")
		check(err)
		fmt.Println("rows", strings.Count(string(data), "\n"))
		fmt.Fprint(os.Stderr, "no newline at the end")
		m, err := os.OpenFile(os.Getenv("VALICO_METRICS"), os.O_WRONLY, 0)
		check(err)
		for i := range 3 {
			fmt.Fprintf(m, "{\"name\":\"loss\",\"value\":%g,\"step\":%d}\n", 1/float64(i+1), i)
		}
		fmt.Fprintf(m, "not a metric\n{\"name\":\"a b\",\"value\":1}\n%s\n", strings.Repeat("x", 100_000))
		check(os.WriteFile(out+"/model.bin", []byte("model"), 0o600))
	case "exit":
		os.Exit(3)
	case "wait":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("waiting")
		<-c
		os.Exit(9)
	case "count":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGUSR1)
		fmt.Println("waiting")
		<-c
		n, err := os.OpenFile(os.Getenv("VALICO_CKPT")+"/n", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		check(err)
		_, err = n.WriteString("x")
		check(err)
		os.Exit(85)
	case "more":
		os.Exit(85)
	case "fill":
		check(os.WriteFile(os.Getenv("VALICO_CKPT")+"/n", make([]byte, 1<<20), 0o600))
		os.Exit(85)
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	}
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
