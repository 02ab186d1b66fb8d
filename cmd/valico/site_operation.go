package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// operateOptions are those of an operator's act on a site.
type operateOptions struct {
	site, act, reason, until string
	version                  int64
	wait                     bool
}

func newSiteShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "show SITE", Short: "Show a site, its state and what operators did with it", Args: args("SITE"),
		Long: help("Show prints what an operator lets happen at a site, since when, why and until when, how many jobs it has,\n"+
			"and to operators each act with its ledger leaf.", "valico site show leonardo"),
		RunE: func(c *cobra.Command, a []string) error { return runSiteShow(c.Context(), a[0], e) },
	}
}

func newOperateCommand(e *env, act, short, long string) *cobra.Command {
	o := operateOptions{act: act}
	c := &cobra.Command{
		Use: act + " SITE", Short: short, Args: args("SITE"),
		Long: help(short+". "+long+" Needs the role operator; the act is a leaf of the ledger.",
			"valico site "+act+` leonardo --reason "cooling is serviced"`),
		RunE: func(c *cobra.Command, a []string) error {
			o.site = a[0]
			return runOperate(c.Context(), o, e)
		},
	}
	f := c.Flags()
	f.StringVar(&o.reason, "reason", "", "why; kept in the ledger and shown to whoever waits")
	f.Int64Var(&o.version, "version", -1, "version that you saw; the newest otherwise")
	_ = c.MarkFlagRequired("reason") // the flag was made above
	if act != broker.ActResume {
		f.StringVar(&o.until, "until", "", "when you expect to open it: a day (UTC) or an RFC 3339 time; it does not open by itself")
	}
	if act == broker.ActDrain {
		f.BoolVar(&o.wait, "wait", false, "return when the site is empty")
	}
	return c
}

func newCordonCommand(e *env) *cobra.Command {
	return newOperateCommand(e, broker.ActCordon, "Let nothing new start at a site",
		"Jobs are admitted and wait at the broker, which says so on each; what is at the site goes on.")
}

func newDrainCommand(e *env) *cobra.Command {
	return newOperateCommand(e, broker.ActDrain, "Empty a site",
		"As cordon, and no job is admitted there: plan and submit say since when and until when. Jobs that are queued\n"+
			"there and have not begun end as cancelled (site_drained) and give their GPU time back; what runs goes on to its end.")
}

func newResumeCommand(e *env) *cobra.Command {
	return newOperateCommand(e, broker.ActResume, "Open a site again", "Jobs that wait for it take their turn.")
}

func runSiteShow(ctx context.Context, name string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	s, err := c.Site(ctx, name)
	if err != nil {
		return err
	}
	return e.emit(s, func(w io.Writer) { printSite(w, s) })
}

func runOperate(ctx context.Context, o operateOptions, e *env) error {
	in := wire.SiteChange{Reason: o.reason}
	if o.until != "" {
		at, err := moment("--until", o.until)
		if err != nil {
			return err
		}
		in.Until = &at
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	if o.version < 0 {
		seen, err := c.Site(ctx, o.site)
		if err != nil {
			return err
		}
		o.version = seen.Operation.Version
	}
	s, err := c.OperateSite(ctx, o.site, o.act, o.version, in)
	if err != nil {
		return err
	}
	if o.wait {
		if s, err = emptied(ctx, c, s, e); err != nil {
			return err
		}
	}
	return e.emit(s, func(w io.Writer) { printSite(w, s) })
}

// emptied waits until a site is empty, or is no longer being emptied.
func emptied(ctx context.Context, c *client.Client, s wire.Site, e *env) (wire.Site, error) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	left := -1
	for s.Operation.State == string(broker.SiteDraining) {
		if n := s.Operation.Queued + s.Operation.Running; n != left {
			e.say("%s: %d queued, %d running", s.Name, s.Operation.Queued, s.Operation.Running)
			left = n
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-t.C:
		}
		var err error
		if s, err = c.Site(ctx, s.Name); err != nil {
			return s, err
		}
	}
	return s, nil
}

func printSite(w io.Writer, s wire.Site) {
	o := s.Operation
	rows := [][]string{
		{"SITE", s.Name},
		{"STATE", o.State},
		{"JOBS", fmt.Sprintf("%d running, %d queued there, %d waiting at the broker", o.Running, o.Queued, o.Waiting)},
		{"SCHEDULER", s.Scheduler},
		{"OPERATOR", s.Operator},
		{"YOUR ACCOUNT", dash(s.Account)},
		{"VERSION", fmt.Sprint(o.Version)},
	}
	if o.Reason != "" {
		rows = append(rows, []string{"WHY", o.Reason}, []string{"SINCE", stamp(o.Since)})
	}
	if o.Until != nil {
		rows = append(rows, []string{"EXPECTED TO OPEN", stamp(o.Until)})
	}
	table(w, rows...)
	if len(s.Acts) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows = [][]string{{"VERSION", "ACT", "BY", "AT", "LEAF", "REASON"}}
	for _, x := range s.Acts {
		rows = append(rows, []string{fmt.Sprint(x.Version), x.Act, x.By, stamp(&x.At), fmt.Sprint(x.LedgerIndex), x.Reason})
	}
	table(w, rows...)
}

// siteState is a site's state in a table; plans made without a server have none.
func siteState(o *wire.SiteOperation) string {
	if o == nil {
		return dash("")
	}
	return o.State
}

// jobsAt says how many jobs a site has and how many wait for it.
func jobsAt(o *wire.SiteOperation) string {
	if o == nil {
		return dash("")
	}
	return fmt.Sprintf("%d+%d", o.Running+o.Queued, o.Waiting)
}
