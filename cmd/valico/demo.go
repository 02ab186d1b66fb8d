package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab"
)

type demoOptions struct {
	site, exec, lab string
	exit, json      bool
}

func newDemoCommand(e *env) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Walk through the whole story on synthetic data",
		Long: help("Demo starts a broker with everything embedded in a folder of its own and walks the story that a newcomer must\n"+
			"see: a job that its permit does not cover, the corrected job trained in a sandbox, its decisions with ledger\n"+
			"entries, its outputs sealed, released and fetched, and four attacks refused. Then it serves until Ctrl-C.\n"+
			"With --site slurm the job runs on the Slurm cluster of deploy/lab, which needs root; without --lab one is started.",
			"valico demo", "valico demo --exit --json", "valico demo --site slurm --exit"),
		Args: args(),
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), e, o) },
	}
	f := c.Flags()
	f.StringVar(&o.site, "site", "local", "local or slurm")
	f.StringVar(&o.exec, "exec", "", "valico-exec (VALICO_EXEC; beside valico, then on PATH)")
	f.StringVar(&o.lab, "lab", "", "folder of a running Slurm lab")
	f.BoolVar(&o.exit, "exit", false, "end when the story is over")
	f.BoolVar(&o.json, "json", false, "print one JSON object last, and no narrative on stdout")
	return c
}

func runDemo(ctx context.Context, e *env, o demoOptions) error {
	if o.site != "local" && o.site != "slurm" {
		return invalid("usage", "unknown site", "--site is local or slurm", o.site, "choose one of them")
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	launcher, err := o.launcher(e, exe)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "valico-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of the demo's own; what stays is in the temporary folder
	opts := demo.Options{
		Exe: exe, Exec: launcher, Dir: dir, Out: e.Stdout, TTY: e.TTY && !o.json && e.Getenv("NO_COLOR") == "", Now: e.Now,
	}
	if o.json {
		opts.Out, opts.Quiet = io.Discard, true
	}
	if !o.exit {
		opts.Serve = func(ctx context.Context, _ *demo.World) { <-ctx.Done() }
	}
	if o.site == "slurm" {
		l, stop, err := o.cluster(ctx, e)
		if err != nil {
			return err
		}
		defer stop()
		opts.Slurm = &demo.SlurmLab{Lab: l, Exec: launcher}
	}
	report, err := demo.Run(ctx, opts)
	if o.json {
		enc := json.NewEncoder(e.Stdout)
		enc.SetEscapeHTML(false)
		if jerr := enc.Encode(report); jerr != nil {
			return errors.Join(err, jerr)
		}
	}
	return err
}

// launcher finds valico-exec as a broker does.
func (o demoOptions) launcher(e *env, exe string) (string, error) {
	for _, p := range []string{o.exec, e.Getenv("VALICO_EXEC")} {
		if p != "" {
			return filepath.Abs(p)
		}
	}
	self, err := filepath.EvalSymlinks(exe)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "valico-exec")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	p, err := exec.LookPath("valico-exec")
	if err != nil {
		return "", invalid("exec_missing", "valico-exec was not found", "it lies beside valico or on PATH", beside,
			"build both: go build -o DIR ./cmd/valico ./cmd/valico-exec")
	}
	return filepath.Abs(p)
}

// cluster opens the lab that was named, or starts one.
func (o demoOptions) cluster(ctx context.Context, e *env) (*lab.Lab, func(), error) {
	if o.lab != "" {
		l, err := lab.Open(o.lab)
		return l, func() {}, err
	}
	l, err := lab.Start(ctx, e.Stderr)
	if err != nil {
		return nil, nil, err
	}
	return l, func() {
		if err := l.Stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(e.Stderr, "valico: error: "+err.Error())
		}
	}, nil
}
