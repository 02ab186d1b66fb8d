package main

import (
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"
)

// env is the world as a command sees it, so that scripts run in-process.
type env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	HTTP           *http.Client // nil for the default
	TTY            bool         // Stderr is a terminal: progress may be drawn
	OutTTY         bool         // Stdout is a terminal: a line may change in place

	opts    globals
	started bool // a command's own code ran: what fails now is not a usage error
}

func osEnv() *env {
	return &env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now,
		TTY: term.IsTerminal(int(os.Stderr.Fd())), OutTTY: term.IsTerminal(int(os.Stdout.Fd())),
	}
}
