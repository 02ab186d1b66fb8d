package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/sandbox"
)

// Exit codes of every command; each command's help repeats them.
const (
	exitOK              = 0
	exitInternal        = 1
	exitInvalid         = 2
	exitNotAdmitted     = 3
	exitQuota           = 4
	exitNotFound        = 5
	exitUnavailable     = 6
	exitJobFailed       = 7
	exitUnauthenticated = 8
	exitInterrupted     = 130
)

func main() {
	sandbox.MaybeInit() // the broker tries out the isolation of a local site
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, osEnv(), os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and gives its exit code.
func run(ctx context.Context, e *env, args []string) int {
	root := newRootCommand(e) //nolint:contextcheck // cobra hands ctx to each command
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if !e.started {
		err = usage(c.CommandPath(), err)
	}
	e.printError(err)
	return exitCode(err)
}

// exitCode is the one place that maps kinds of errors to exit codes.
func exitCode(err error) int {
	if _, ok := errors.AsType[*jobEndedError](err); ok {
		return exitJobFailed
	}
	switch broker.KindOf(err) {
	case broker.KindInvalid, broker.KindConflict:
		return exitInvalid
	case broker.KindNotAdmitted:
		return exitNotAdmitted
	case broker.KindQuota:
		return exitQuota
	case broker.KindNotFound, broker.KindForbidden:
		return exitNotFound
	case broker.KindUnavailable:
		return exitUnavailable
	case broker.KindUnauthenticated:
		return exitUnauthenticated
	case broker.KindInternal:
		return exitInternal
	}
	return exitInternal
}
