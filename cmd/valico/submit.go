package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/jobspec"
)

type submitOptions struct {
	file string
	key  string
	wait bool
}

func newSubmitCommand(e *env) *cobra.Command {
	var o submitOptions
	c := &cobra.Command{
		Use: "submit JOB.yaml", Short: "Submit a job", Args: args("JOB.yaml"),
		Long: help("Submit cuts the job's layers, uploads those that the broker lacks, and submits the job. The broker decides at once:\n"+
			"a job that is not admitted is an error, with each reason.\n\n"+
			"JOB FILE\n"+exampleJobFile,
			"valico submit job.yaml", "valico submit job.yaml --wait", "valico submit job.yaml -o json | jq -r .id"),
		RunE: func(c *cobra.Command, a []string) error {
			o.file = a[0]
			return runSubmit(c.Context(), o, e)
		},
	}
	c.Flags().BoolVar(&o.wait, "wait", false, "watch the job until it ends; exit 7 unless it succeeds")
	c.Flags().StringVar(&o.key, "idempotency-key", "", "repeat a submission with its key; one is made up otherwise")
	return c
}

const exampleJobFile = `  name: screening
  permit: sandbox-2026-11-24
  purpose: 53(1)(e)(ii)
  activity: train
  datasets:
    - {id: https://data.example/dataset/synthetic-screening, version: "1", mount: cohort}
  image:
    base: none                  # or oci:FOLDER, or REFERENCE@sha256:…
    context: ./image            # becomes the image's own layer
    command: [/trainer, --epochs, "5"]
  resources: {gpus: 1, cpus: 4, memory: 4GiB, walltime: 10m}
  telemetry: metrics
  priority: background          # a class of the policy's; left out, its default
  outputs:
    - {path: model.json, type: model}`

func runSubmit(ctx context.Context, o submitOptions, e *env) error {
	j, err := loadJob(o.file)
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "valico-submit-")
	if err != nil {
		return fileError("make a temporary folder", os.TempDir(), err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // temporary
	bars := e.newBars()
	defer bars.wait()
	cutting := bars.add("cutting layer", 0)
	cut, err := j.cut(ctx, tmp, cutting.moved)
	cutting.done()
	if err != nil {
		return err
	}
	if err := j.pullBase(ctx, c, tmp); err != nil {
		return err
	}
	spec := j.spec(cut)
	key, err := submitKey(spec, o.key)
	if err != nil {
		return err
	}
	for _, b := range j.blobs(cut) {
		bar := bars.add("uploading "+short(string(b.digest)), b.sizeBytes)
		err := upload(ctx, c, b, bar.moved)
		bar.done()
		if err != nil {
			return err
		}
	}
	bars.wait()
	out, err := c.Submit(ctx, spec, key)
	if err != nil {
		return err
	}
	if o.wait {
		e.say("job %s: %s at site %s", out.ID, out.State, dash(out.Site))
		return runWatch(ctx, watchOptions{job: out.ID}, e)
	}
	return e.emit(out, func(w io.Writer) { printSubmitted(w, out) })
}

// submitKey is made of the job's content and of chance: a repetition by this
// process's retries is the same submission, running the command again is not.
func submitKey(spec broker.JobSpec, given string) (string, error) {
	b, err := jobspec.EncodeSpec(spec)
	if err != nil {
		return "", err
	}
	if given != "" {
		return given, nil
	}
	var r [12]byte
	_, _ = rand.Read(r[:]) // crypto/rand.Read never returns an error
	return "cli-" + broker.DigestOf(b).Hex()[:24] + "-" + hex.EncodeToString(r[:]), nil
}

func printSubmitted(w io.Writer, j wire.Job) {
	rows := [][]string{{"JOB", j.ID}, {"STATE", j.State}, {"SITE", dash(j.Site)}}
	if j.Decision != nil {
		rows = append(rows, []string{"ADMISSION", fmt.Sprintf("%s, ledger leaf %d", j.Decision.Verdict, j.Decision.LedgerIndex)})
	}
	rows = append(rows, []string{"NEXT", "valico watch " + j.ID})
	table(w, rows...)
}
