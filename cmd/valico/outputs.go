package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func newOutputsCommand(e *env) *cobra.Command {
	list := &cobra.Command{
		Use: "list JOB", Short: "List what a job sealed", Args: args("JOB"),
		Long: help("List prints what each attempt of a job left in the site's quarantine and what of it is released.", "valico outputs list JOB"),
		RunE: func(c *cobra.Command, a []string) error { return runOutputsList(c.Context(), a[0], e) },
	}
	return group("outputs", "List and release a job's outputs", list, newReleaseCommand(e))
}

func runOutputsList(ctx context.Context, id string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	outs, err := c.Outputs(ctx, id)
	if err != nil {
		return err
	}
	return e.emit(outs, func(w io.Writer) {
		rows := [][]string{{"ATTEMPT", "FILE", "SIZE", "DIGEST", "RELEASED", "MANIFEST"}}
		for _, s := range outs.Outputs {
			for _, f := range s.Files {
				rows = append(rows, []string{s.Attempt, f.Path, size(f.SizeBytes), f.Digest, releasedBy(s), short(s.Manifest)})
			}
		}
		table(w, rows...)
		if len(outs.Outputs) == 0 {
			e.say("nothing is sealed yet")
		}
	})
}

func releasedBy(s wire.Sealed) string {
	if s.Release == nil {
		return "no"
	}
	return "by " + s.Release.Reviewer
}

type releaseOptions struct{ job, key, attempt, manifest string }

func newReleaseCommand(e *env) *cobra.Command {
	var o releaseOptions
	c := &cobra.Command{
		Use: "release JOB --key FILE", Short: "Release a job's outputs as their reviewer", Args: args("JOB"),
		Long: help("Release signs, on this machine and with your own key, that the outputs of one attempt may leave the quarantine.\n"+
			"You may not release what you submitted yourself.\n"+
			"Look at the outputs first; --manifest makes sure that what you release is what you looked at.",
			"valico outputs release JOB --key reviewer.key", "valico outputs release JOB --key reviewer.key --manifest sha256:…"),
		RunE: func(c *cobra.Command, a []string) error {
			o.job = a[0]
			return runRelease(c.Context(), o, e)
		},
	}
	c.Flags().StringVar(&o.key, "key", "", "file with your private key (PEM)")
	c.Flags().StringVar(&o.attempt, "attempt", "", "which attempt; the newest that sealed something otherwise")
	c.Flags().StringVar(&o.manifest, "manifest", "", "digest of the manifest that you looked at")
	_ = c.MarkFlagRequired("key") // the flag was made above
	return c
}

func runRelease(ctx context.Context, o releaseOptions, e *env) error {
	key, err := readKey(o.key)
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	me, err := c.WhoAmI(ctx)
	if err != nil {
		return err
	}
	s, err := pick(ctx, c, o)
	if err != nil {
		return err
	}
	envelope, err := order.SignRelease(airlock.Statement{
		Attempt: broker.AttemptID(s.Attempt), Manifest: broker.Digest(s.Manifest), Reviewer: broker.PersonID(me.ID),
	}, e.Now(), key)
	if err != nil {
		return fmt.Errorf("sign the release: %w", err)
	}
	r, err := c.Release(ctx, o.job, envelope)
	if err != nil {
		return err
	}
	return e.emit(r, func(w io.Writer) {
		table(w, []string{"RELEASE", r.ID}, []string{"ATTEMPT", r.Attempt}, []string{"MANIFEST", r.Manifest},
			[]string{"REVIEWER", r.Reviewer}, []string{"LEDGER LEAF", fmt.Sprint(r.LedgerIndex)}, []string{"NEXT", "valico fetch " + o.job})
	})
}

// pick finds the manifest that is meant.
func pick(ctx context.Context, c *client.Client, o releaseOptions) (wire.Sealed, error) {
	outs, err := c.Outputs(ctx, o.job)
	if err != nil {
		return wire.Sealed{}, err
	}
	for _, s := range slices.Backward(outs.Outputs) {
		if o.attempt != "" && s.Attempt != o.attempt {
			continue
		}
		if o.manifest != "" && s.Manifest != o.manifest {
			return s, invalid("manifest_mismatch", "the sealed manifest is another than the one you looked at",
				"a release names the digest of what was looked at", s.Manifest, "look at the outputs again")
		}
		return s, nil
	}
	return wire.Sealed{}, broker.NotFound("sealed output", o.job)
}
