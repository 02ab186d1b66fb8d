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
	"slices"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

// Where the story may run.
const (
	siteLocal = "local"
	siteSlurm = "slurm"
	siteNomad = "nomad"
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
			"With --site slurm the job runs on the Slurm cluster of deploy/lab, with --site nomad on its Nomad agent; both need\n"+
			"root, and without --lab one is started.",
			"valico demo", "valico demo --exit --json", "valico demo --site slurm --exit", "valico demo --site nomad --exit"),
		Args: args(),
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), e, o) },
	}
	f := c.Flags()
	f.StringVar(&o.site, "site", siteLocal, "local, slurm or nomad")
	f.StringVar(&o.exec, "exec", "", "valico-exec (VALICO_EXEC; beside valico, then on PATH)")
	f.StringVar(&o.lab, "lab", "", "folder of a running lab")
	f.BoolVar(&o.exit, "exit", false, "end when the story is over")
	f.BoolVar(&o.json, "json", false, "print one JSON object last, and no narrative on stdout")
	return c
}

func runDemo(ctx context.Context, e *env, o demoOptions) error {
	if !slices.Contains([]string{siteLocal, siteSlurm, siteNomad}, o.site) {
		return invalid("usage", "unknown site", "--site is local, slurm or nomad", o.site, "choose one of them")
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
	if o.site != siteLocal {
		stop, err := o.cluster(ctx, e, &opts)
		if err != nil {
			return err
		}
		defer stop()
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

// cluster opens the lab that was named, or starts one, which stop ends.
func (o demoOptions) cluster(ctx context.Context, e *env, opts *demo.Options) (stop func(), err error) {
	end := func() error { return nil }
	if o.site == siteNomad {
		var l *nomadlab.Lab
		if err := demo.NomadAccounts(ctx); err != nil {
			return nil, err
		}
		if o.lab != "" {
			l, err = nomadlab.Open(o.lab)
		} else if l, err = nomadlab.Start(ctx, e.Stderr); err == nil {
			end = l.Stop
		}
		opts.Cluster = &demo.NomadLab{Lab: l, Exec: opts.Exec, Dir: opts.Dir}
	} else {
		var l *lab.Lab
		if o.lab != "" {
			l, err = lab.Open(o.lab)
		} else if l, err = lab.Start(ctx, e.Stderr); err == nil {
			end = func() error { return l.Stop(context.WithoutCancel(ctx)) }
		}
		opts.Cluster = &demo.SlurmLab{Lab: l, Exec: opts.Exec}
	}
	if err != nil {
		return nil, err
	}
	return func() {
		if err := end(); err != nil {
			fmt.Fprintln(e.Stderr, "valico: error: "+err.Error())
		}
	}, nil
}
