package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/sandbox"
)

// Exit statuses that are not the workload's.
const (
	exitUsage    = 64
	exitInternal = 70
	exitRefused  = 77
)

const usage = `usage:
  valico-exec run --site DIR --attempt DIR [--kill-margin 10s] [--ckpt-max BYTES]
  valico-exec verify --site DIR --attempt DIR [-o json]
  valico-exec version

exit status: the workload's · 64 usage · 70 the node failed · 77 refused, with the reason as JSON on stderr
`

func main() {
	sandbox.MaybeInit()
	e := env{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now}
	os.Exit(e.main(context.Background(), os.Args[1:]))
}

// env is what the program has of the world.
type env struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
}

// options are the flags of run and verify.
type options struct {
	site, attempt string
	margin        time.Duration
	ckptMax       int64
	output        string
}

func (e env) main(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "version":
		fmt.Fprintln(e.stdout, broker.Build())
		return 0
	case "run", "verify":
	default:
		fmt.Fprint(e.stderr, usage)
		return exitUsage
	}
	o, err := parse(args[0], args[1:])
	if err != nil {
		fmt.Fprintf(e.stderr, "valico-exec: %v\n%s", err, usage)
		return exitUsage
	}
	if args[0] == "verify" {
		return e.status(e.verify(ctx, o))
	}
	code, err := e.run(ctx, o)
	if err != nil {
		return e.status(err)
	}
	return code
}

func parse(verb string, args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("valico-exec "+verb, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.site, "site", "", "the site's folder")
	f.StringVar(&o.attempt, "attempt", "", "the attempt's folder")
	if verb == "run" {
		f.DurationVar(&o.margin, "kill-margin", 10*time.Second, "from TERM to KILL")
		f.Int64Var(&o.ckptMax, "ckpt-max", 0, "bytes that the job's checkpoints may take; 0 sets no bound")
	} else {
		f.StringVar(&o.output, "o", "table", "table or json")
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q is not expected", f.Arg(0))
	case !filepath.IsAbs(o.site) || !filepath.IsAbs(o.attempt):
		return o, errors.New("--site and --attempt are absolute paths")
	case o.margin < 0 || o.ckptMax < 0:
		return o, errors.New("--kill-margin and --ckpt-max are not negative")
	case verb == "verify" && o.output != "table" && o.output != "json":
		return o, errors.New("-o is table or json")
	}
	return o, nil
}

// complaint is an error as stderr says it.
type complaint struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Rule    string `json:"rule,omitempty"`
	Value   string `json:"value,omitempty"`
	Help    string `json:"help,omitempty"`
	Who     string `json:"who,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// status says an error and returns its exit status.
func (e env) status(err error) int {
	if err == nil {
		return 0
	}
	c, code := complaint{Code: codeInternal, Message: "the node could not run the attempt", Detail: err.Error()}, exitInternal
	if b, ok := errors.AsType[*broker.Error](err); ok {
		c = complaint{Code: b.Code, Message: b.Message, Rule: b.Rule, Value: b.Value, Help: b.Help, Who: b.Who}
		if b.Err != nil {
			c.Detail = b.Err.Error()
		}
		if b.Kind == broker.KindForbidden {
			code = exitRefused
		}
	}
	if b, err := json.Marshal(c, json.Deterministic(true)); err == nil {
		fmt.Fprintf(e.stderr, "%s\n", b)
	}
	return code
}
