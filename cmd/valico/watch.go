package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

type watchOptions struct {
	job   string
	after int64
}

func newWatchCommand(e *env) *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use: "watch JOB", Short: "Watch a job until it ends", Args: args("JOB"),
		Long: help("Watch prints a job's changes of state, its metrics and its log as they come, and resumes after a cut.\n"+
			"Its exit status is 7 unless the job succeeds.", "valico watch JOB", "valico watch JOB -o json"),
		RunE: func(c *cobra.Command, a []string) error {
			o.job = a[0]
			return runWatch(c.Context(), o, e)
		},
	}
	c.Flags().Int64Var(&o.after, "after", 0, "begin after this event")
	return c
}

func runWatch(ctx context.Context, o watchOptions, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	v := &view{e: e, metrics: map[string]string{}}
	err = c.Follow(ctx, o.job, o.after, v.event, func(err error) { e.say("valico: the stream was cut, resuming (%s)", broker.CodeOf(err)) })
	v.endLine()
	if err != nil {
		return err
	}
	return ended(ctx, c, o.job, e)
}

// ended says how a job ended; the error is nil if it succeeded.
func ended(ctx context.Context, c *client.Client, id string, e *env) error {
	j, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	if e.opts.output != outputJSON {
		e.say("job %s: %s", j.ID, withCode(j.State, j.Code))
	}
	if j.State == string(broker.JobSucceeded) {
		return nil
	}
	return &jobEndedError{id: j.ID, state: j.State, code: j.Code}
}

// view shows events. Metrics of one step share a line, which a terminal sees
// change in place.
type view struct {
	e       *env
	names   []string // metrics in the order in which they came
	metrics map[string]string
	step    int64
	open    bool // the metrics' line is not ended
}

func (v *view) event(ev wire.Event) error {
	if v.e.opts.output == outputJSON {
		return writeLine(v.e, ev)
	}
	switch ev.Kind {
	case broker.EventMetric:
		v.metric(ev)
	case broker.EventState:
		v.line(ev, ev.Name+": "+ev.Text)
	case broker.EventNotice:
		if broker.WaitCode(ev.Name).Known() {
			v.waits(ev)
			break
		}
		v.line(ev, "notice "+ev.Name+": "+ev.Text)
	case broker.EventLog:
		v.line(ev, "| "+ev.Text)
	default:
		v.line(ev, ev.Kind+" "+ev.Name+" "+ev.Text)
	}
	return nil
}

func (v *view) line(ev wire.Event, text string) {
	v.endLine()
	fmt.Fprintf(v.e.Stdout, "%s  %s\n", ev.At.UTC().Format("15:04:05"), clean(strings.TrimRight(text, " ")))
}

func (v *view) metric(ev wire.Event) {
	value := ev.Text // what is not finite travels as text
	if value == "" {
		value = fmt.Sprintf("%.4g", ev.Value)
	}
	if !v.e.OutTTY {
		v.line(ev, fmt.Sprintf("step %d  %s %s", ev.Step, ev.Name, value))
		return
	}
	if _, seen := v.metrics[ev.Name]; !seen {
		v.names = append(v.names, ev.Name)
	}
	v.metrics[ev.Name], v.step, v.open = value, ev.Step, true
	parts := make([]string, 0, len(v.names))
	for _, n := range v.names {
		parts = append(parts, n+" "+v.metrics[n])
	}
	fmt.Fprintf(v.e.Stdout, "\r\x1b[2K%s  step %d  %s", ev.At.UTC().Format("15:04:05"), v.step, clean(strings.Join(parts, "  ")))
}

func (v *view) endLine() {
	if v.open {
		fmt.Fprintln(v.e.Stdout)
		v.open = false
	}
}
