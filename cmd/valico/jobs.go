package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

type jobsOptions struct {
	limit int
	all   bool
	queue bool
}

func newJobsCommand(e *env) *cobra.Command {
	var o jobsOptions
	c := &cobra.Command{
		Use: "jobs", Short: "List the project's jobs", Args: args(),
		Long: help("Jobs lists the project's jobs, newest first. With --queue it lists those that wait for their turn, each with\n"+
			"its place at its site and why the one ahead comes first.", "valico jobs", "valico jobs --all -o json", "valico jobs --queue"),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.queue {
				return runQueue(c.Context(), e)
			}
			return runJobs(c.Context(), o, e)
		},
	}
	c.Flags().IntVar(&o.limit, "limit", 20, "how many, at most 200")
	c.Flags().BoolVar(&o.all, "all", false, "all of them")
	c.Flags().BoolVar(&o.queue, "queue", false, "those that wait for their turn, in their order")
	c.MarkFlagsMutuallyExclusive("queue", "all")
	c.MarkFlagsMutuallyExclusive("queue", "limit")
	return c
}

func runJobs(ctx context.Context, o jobsOptions, e *env) error {
	if o.limit < 1 || o.limit > 200 {
		return invalid("usage", "--limit is out of bounds", "--limit is 1 to 200", "", "use --all for all of them")
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	out := wire.Jobs{Jobs: []wire.Job{}}
	for {
		page, err := c.Jobs(ctx, out.Next, o.limit)
		if err != nil {
			return err
		}
		out.Jobs, out.Next = append(out.Jobs, page.Jobs...), page.Next
		if !o.all || page.Next == "" {
			break
		}
	}
	return e.emit(out, func(w io.Writer) { e.printJobs(w, out) })
}

func (e *env) printJobs(w io.Writer, jobs wire.Jobs) {
	rows := [][]string{{"JOB", "NAME", "STATE", "WAITING", "SITE", "PERMIT", "SUBMITTER", "AGE"}}
	for _, j := range jobs.Jobs {
		rows = append(rows, []string{j.ID, j.Name, j.State, waitingCode(j), dash(j.Site), j.Permit, j.Submitter, age(e.Now(), j.CreatedAt)})
	}
	table(w, rows...)
	if len(jobs.Jobs) == 0 {
		e.say("no jobs yet; submit one with: valico submit job.yaml")
	}
	if jobs.Next != "" {
		e.say("there are more; use --all")
	}
}
