package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func newShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "show JOB", Short: "Show a job and its attempts", Args: args("JOB"),
		Long: help("Show prints a job, what it asked for, and each attempt.", "valico show JOB", "valico show JOB -o json"),
		RunE: func(c *cobra.Command, a []string) error { return runShow(c.Context(), a[0], e) },
	}
}

func runShow(ctx context.Context, id string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	j, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	return e.emit(j, func(w io.Writer) { e.printJob(w, j) })
}

func (e *env) printJob(w io.Writer, j wire.Job) {
	rows := [][]string{
		{"JOB", j.ID},
		{"NAME", j.Name},
		{"STATE", withCode(j.State, j.Code)},
		{"SITE", dash(j.Site)},
		{"PERMIT", j.Permit},
		{"SUBMITTER", j.Submitter},
	}
	if j.Segments > 0 {
		rows = append(rows, []string{"SEGMENTS", segments(j)})
	}
	rows = append(rows, e.waitingRows(j)...)
	rows = append(rows, [][]string{
		{"CREATED", stamp(&j.CreatedAt)},
		{"FINISHED", stamp(j.FinishedAt)},
		{"SPEC", j.SpecDigest},
	}...)
	if s := j.Spec; s != nil {
		for _, d := range s.Datasets {
			rows = append(rows, []string{"DATASET", d.PURI + " at /data/" + d.Mount})
		}
		rows = append(rows, []string{"RESOURCES", fmt.Sprintf("%d node(s) × %d GPU, %d CPU, %d MiB, %d s", s.Resources.Nodes,
			s.Resources.GPUsPerNode, s.Resources.CPUsPerNode, s.Resources.MemoryMiB, s.Resources.WalltimeSeconds)})
	}
	table(w, rows...)
	if len(j.Attempts) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows = [][]string{{"#", "ATTEMPT", "STATE", "OUTCOME", "EXIT", "GPU-SECONDS", "STARTED", "FINISHED"}}
	for _, a := range j.Attempts {
		rows = append(rows, []string{
			fmt.Sprint(a.Number), a.ID, a.State, dash(withCode(a.Outcome, a.Code)), fmt.Sprint(a.ExitCode), fmt.Sprint(a.GPUSeconds),
			stamp(a.StartedAt), stamp(a.FinishedAt),
		})
	}
	table(w, rows...)
}

// segments says how far a job of several is.
func segments(j wire.Job) string {
	var gpuSeconds int64
	for _, a := range j.Attempts {
		gpuSeconds += a.GPUSeconds
	}
	return fmt.Sprintf("%d of %d, %d GPU-seconds so far", len(j.Attempts), j.Segments, gpuSeconds)
}

func withCode(s, code string) string {
	if code == "" {
		return s
	}
	return s + " (" + code + ")"
}
