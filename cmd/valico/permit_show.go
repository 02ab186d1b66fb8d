package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/policy/permit"
)

func newPermitListCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the project's permits", Args: args(),
		Long: help("List prints the permits that were imported for your project.", "valico permit list"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := e.client()
			if err != nil {
				return err
			}
			ps, err := cl.Permits(c.Context())
			if err != nil {
				return err
			}
			return e.emit(ps, func(w io.Writer) {
				rows := [][]string{{"PERMIT", "VERSION", "REGIME", "STATUS", "STATED", "ENDS"}}
				for _, p := range ps.Permits {
					rows = append(rows, []string{p.ID, fmt.Sprint(p.Version), p.LegalRegime, dash(p.Status), stamp(p.StatusAt), stamp(p.AccessEnd)})
				}
				table(w, rows...)
				if len(ps.Permits) == 0 {
					e.say("no permit is imported yet; an operator does it with: valico permit import")
				}
			})
		},
	}
}

func newPermitShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "show PERMIT", Short: "Show an imported permit", Args: args("PERMIT"),
		Long: help("Show prints what a permit allows, and whether it verifies with the broker's keys now.", "valico permit show sandbox-2026-11-24"),
		RunE: func(c *cobra.Command, a []string) error {
			cl, err := e.client()
			if err != nil {
				return err
			}
			p, err := cl.Permit(c.Context(), a[0])
			if err != nil {
				return err
			}
			return e.emit(p, func(w io.Writer) { printPermit(w, p) })
		},
	}
}

func printPermit(w io.Writer, p wire.Permit) {
	rows := [][]string{
		{"PERMIT", p.ID},
		{"VERSION", fmt.Sprint(p.Version)},
		{"REGIME", p.LegalRegime},
		{"STATUS", dash(p.Status) + ", stated " + stamp(p.StatusAt)},
		{"VERIFIED", fmt.Sprintf("%v, in the key's scope %v", p.Verified, p.InScope)},
		{"DIGEST", p.Digest},
	}
	if d := p.Document; d != nil && p.Verified {
		rows = append(rows, documentRows(*d)...)
	}
	if p.LedgerIndex != nil {
		rows = append(rows, []string{"LEDGER LEAF", fmt.Sprint(*p.LedgerIndex)})
	}
	table(w, rows...)
}

func documentRows(d permit.Document) [][]string {
	rows := [][]string{
		{"AUTHORITY", d.Issuer.Name + " (" + d.Issuer.Country + "), " + d.Issuer.Contact},
		{"PERIOD", d.AccessPeriod.Start.Format("2006-01-02") + " to " + d.AccessPeriod.End.Format("2006-01-02")},
	}
	for _, p := range d.Persons {
		rows = append(rows, []string{"PERSON", p.ID + " (" + p.Role + ")"})
	}
	for _, p := range d.Purposes {
		code := p.Code
		if p.Sub != "" {
			code += "(" + p.Sub + ")"
		}
		rows = append(rows, []string{"PURPOSE", code})
	}
	for _, s := range d.Datasets {
		rows = append(rows, []string{"DATASET", s.PURI + " " + s.Version + " (" + s.AccessFormat + ")"})
	}
	ceiling := "none"
	if d.SPE.GPUHours > 0 {
		ceiling = hours(d.SPE.GPUHours)
	}
	return append(rows, [][]string{
		{"ACTIVITIES", strings.Join(d.Activities, ", ")},
		{"SITES", strings.Join(d.SPE.Sites, ", ")},
		{"GPU-HOURS", ceiling},
		{"OWN CODE", d.Execution.OwnCode},
		{"TELEMETRY", d.Execution.Telemetry},
		{"OUTPUTS", strings.Join(d.Outputs.AllowedTypes, ", ")},
		{"REVIEWER", d.Outputs.Reviewer},
	}...)
}

type statusOptions struct {
	id, state, reason, file string
	version                 int
	sign                    signOptions
}

func newPermitStatusCommand(e *env) *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use: "status PERMIT", Short: "Show, state or hand over a permit's status", Args: args("PERMIT"),
		Long: help("Status shows the newest status that the broker holds. An authority states one with --state and --key, without a\n"+
			"server; an operator hands a stated one over with --import.\n"+
			"A status is GRANTED, AMENDED, RENEWED, REVOKED, EXPIRED or SUSPENDED.",
			"valico permit status sandbox-2026-11-24",
			"valico permit status sandbox-2026-11-24 --state GRANTED --key status.key --kid status-1 --out status.jws",
			"valico permit status sandbox-2026-11-24 --import status.jws"),
		RunE: func(c *cobra.Command, a []string) error {
			o.id = a[0]
			return runPermitStatus(c.Context(), o, e)
		},
	}
	c.Flags().StringVar(&o.state, "state", "", "sign this status")
	c.Flags().StringVar(&o.reason, "reason", "", "why; may be left out")
	c.Flags().IntVar(&o.version, "permit-version", 1, "version of the permit")
	c.Flags().StringVar(&o.file, "import", "", "file with a signed status to hand over")
	o.sign.addFlags(c)
	c.MarkFlagsMutuallyExclusive("state", "import")
	c.MarkFlagsRequiredTogether("state", "key")
	return c
}

func runPermitStatus(ctx context.Context, o statusOptions, e *env) error {
	if o.state != "" {
		return signStatus(o, e)
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	var p wire.Permit
	if o.file != "" {
		jws, err := readToken("the status", o.file)
		if err != nil {
			return err
		}
		p, err = c.SetPermitStatus(ctx, o.id, string(jws))
		if err != nil {
			return err
		}
	} else if p, err = c.Permit(ctx, o.id); err != nil {
		return err
	}
	return e.emit(p, func(w io.Writer) {
		rows := [][]string{{"PERMIT", p.ID}, {"VERSION", fmt.Sprint(p.Version)}, {"STATUS", dash(p.Status)}, {"STATED", stamp(p.StatusAt)}}
		if p.LedgerIndex != nil {
			rows = append(rows, []string{"LEDGER LEAF", fmt.Sprint(*p.LedgerIndex)})
		}
		table(w, rows...)
	})
}

func signStatus(o statusOptions, e *env) error {
	key, err := readKey(o.sign.key)
	if err != nil {
		return err
	}
	if o.sign.kid == "" {
		if o.sign.kid, err = permit.KeyID(key.Public()); err != nil {
			return fmt.Errorf("name the key: %w", err)
		}
	}
	jws, err := permit.SignStatus(permit.Status{
		PermitID: o.id, Version: o.version, Status: o.state, At: e.Now().UTC(), Reason: o.reason,
	}, key, o.sign.kid)
	if err != nil {
		return fromEdge(err)
	}
	return e.write(o.sign.out, []byte(jws+"\n"))
}
