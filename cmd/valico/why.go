package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func newWhyCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "why JOB", Short: "Say why a job was decided on as it was", Args: args("JOB"),
		Long: help("Why prints each decision on a job with its reasons in words: what the rule rests on, your value,\n"+
			"what helps and who can help. Of a job that has not begun it says what it waits for.", "valico why JOB", "valico why JOB --lang it"),
		RunE: func(c *cobra.Command, a []string) error { return runWhy(c.Context(), a[0], e) },
	}
}

func runWhy(ctx context.Context, id string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	ds, err := c.Decisions(ctx, id)
	if err != nil {
		return err
	}
	j, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	out := why{Decisions: ds.Decisions, Waiting: j.Waiting, Place: j.Place}
	return e.emit(out, func(w io.Writer) {
		e.printDecisions(w, ds.Decisions)
		if j.Segments > 0 {
			fmt.Fprintln(w)
			table(w, []string{"SEGMENTS", segments(j)}, []string{"STATE", withCode(j.State, j.Code)})
		}
		if rows := e.waitingRows(j); len(rows) > 0 {
			fmt.Fprintln(w)
			table(w, rows...)
		}
	})
}

// why is each decision on a job, and why it has not begun.
type why struct {
	Decisions []wire.Decision  `json:"decisions"`
	Waiting   *wire.Waiting    `json:"waiting,omitempty"`
	Place     *wire.QueuePlace `json:"place,omitempty"`
}

func (e *env) printDecisions(w io.Writer, ds []wire.Decision) {
	for i, d := range ds {
		if i > 0 {
			fmt.Fprintln(w)
		}
		table(w,
			[]string{"DECISION", d.ID}, []string{"KIND", d.Kind}, []string{"VERDICT", d.Verdict}, []string{"AT", stamp(&d.At)},
			[]string{"LEDGER LEAF", fmt.Sprint(d.LedgerIndex)}, []string{"POLICY", d.Policy},
		)
		if len(d.Reasons) > 0 {
			fmt.Fprintln(w)
			e.printReasons(w, d.Reasons)
		}
	}
	if len(ds) == 0 {
		e.say("no decision is recorded yet")
	}
}
