package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func newCancelCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "cancel JOB", Short: "End a job", Args: args("JOB"),
		Long: help("Cancel asks the broker to end a job. What runs is told to stop and gets the site's kill margin to write its last.",
			"valico cancel JOB"),
		RunE: func(c *cobra.Command, a []string) error { return runCancel(c.Context(), a[0], e) },
	}
}

func runCancel(ctx context.Context, id string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	j, err := c.Cancel(ctx, id)
	if err != nil {
		return err
	}
	return e.emit(j, func(w io.Writer) {
		table(w, []string{"JOB", j.ID}, []string{"STATE", j.State}, []string{"NEXT", "valico watch " + j.ID})
	})
}
