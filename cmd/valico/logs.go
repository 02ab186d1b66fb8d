package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

type logsOptions struct {
	job    string
	follow bool
	stderr bool
}

func newLogsCommand(e *env) *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use: "logs JOB", Short: "Print what a job wrote", Args: args("JOB"),
		Long: help("Logs prints the lines that a job wrote, as far as its permit lets them leave the site: with telemetry sealed or\n"+
			"metrics there are none.", "valico logs JOB", "valico logs JOB --follow"),
		RunE: func(c *cobra.Command, a []string) error {
			o.job = a[0]
			return runLogs(c.Context(), o, e)
		},
	}
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on until the job ends; resumes after a cut")
	c.Flags().BoolVar(&o.stderr, "stderr", false, "only what it wrote to stderr")
	return c
}

func runLogs(ctx context.Context, o logsOptions, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	each := func(ev wire.Event) error { return printLog(o, e, ev) }
	if o.follow {
		return c.Follow(ctx, o.job, 0, each, func(err error) { e.say("valico: the stream was cut, resuming (%s)", broker.CodeOf(err)) })
	}
	var after int64
	for {
		page, err := c.Events(ctx, o.job, after)
		if err != nil {
			return err
		}
		for _, ev := range page.Events {
			if err := each(ev); err != nil {
				return err
			}
		}
		if page.Next == after {
			return nil
		}
		after = page.Next
	}
}

func printLog(o logsOptions, e *env, ev wire.Event) error {
	if ev.Kind != broker.EventLog || (o.stderr && ev.Name != "stderr") {
		return nil
	}
	if e.opts.output == outputJSON {
		return writeLine(e, ev)
	}
	if _, err := fmt.Fprintln(e.Stdout, clean(ev.Text)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// writeLine writes one JSON object a line.
func writeLine(e *env, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if _, err := e.Stdout.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
