package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

type siteAgentOptions struct{ enrol, record string }

func newSiteAgentCommand(e *env) *cobra.Command {
	var o siteAgentOptions
	c := &cobra.Command{
		Use: "agent SITE", Short: "Show a remote site's agent and its alerts, or enrol another", Args: args("SITE"),
		Long: help("Agent shows the keys of a remote site's agent, the keys of this broker that the site pins, and what the agent\n"+
			"refused that no broker asks. With --enrol another agent speaks for the site from now on, and the earlier one no\n"+
			"more. Needs the role operator.",
			"valico site agent leo", "valico site agent leo --broker-record broker.json", "valico site agent leo --enrol enrolment.json"),
		RunE: func(c *cobra.Command, a []string) error { return runSiteAgent(c.Context(), a[0], o, e) },
	}
	c.Flags().StringVar(&o.enrol, "enrol", "", "enrolment.json of the agent that shall speak for the site")
	c.Flags().StringVar(&o.record, "broker-record", "", "write what the site pins of this broker to a file")
	return c
}

func runSiteAgent(ctx context.Context, name string, o siteAgentOptions, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	out, err := c.SiteAgent(ctx, name)
	if o.enrol != "" && err == nil {
		k, kerr := readAgentKeys(o.enrol)
		if kerr != nil {
			return kerr
		}
		out, err = c.EnrolAgent(ctx, name, k)
	}
	if err != nil {
		return err
	}
	if o.record != "" {
		b, err := json.MarshalIndent(out.Broker, "", "  ")
		if err != nil {
			return fmt.Errorf("write the broker's record: %w", err)
		}
		if err := os.WriteFile(o.record, append(b, '\n'), 0o644); err != nil { //nolint:gosec // public keys
			return fileError("write the broker's record", o.record, err)
		}
	}
	key, err := fingerprint(out.Agent.Key)
	if err != nil {
		return err
	}
	return e.emit(out, func(w io.Writer) {
		table(w, []string{"AGENT KEY", key}, []string{"SIGN-IN KEY", out.Agent.SignIn},
			[]string{"ENROLLED", out.EnrolledAt.Format(time.RFC3339) + " by " + out.EnrolledBy})
		fmt.Fprintln(w)
		_ = e.printBroker(out.Broker) // its keys are this broker's own
		if len(out.Alerts) == 0 {
			return
		}
		rows := [][]string{{"ALERT", "TIMES", "ASKED FOR", "ATTEMPT", "LAST", "DETAIL"}}
		for _, a := range out.Alerts {
			rows = append(rows, []string{a.Code, fmt.Sprint(a.Count), dash(a.Method), dash(a.Attempt), a.Last.Format(time.RFC3339), a.Detail})
		}
		fmt.Fprintln(w)
		table(w, rows...)
	})
}
