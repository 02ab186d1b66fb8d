package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

type usageOptions struct {
	by          []string
	from, until string
	project     string
}

func newUsageCommand(e *env) *cobra.Command {
	var o usageOptions
	c := &cobra.Command{
		Use: "usage", Short: "Sum the GPU time that was used", Args: args(),
		Annotations: map[string]string{annotationCSV: "yes"},
		Long: help("Usage sums what ended attempts used, from the record: by project, person, site or day (UTC) of the booking, or\n"+
			"several of them. You see your own project; operators see all projects of their organisation. GPU-hours are the\n"+
			"site's own figures; charged GPU-hours are what allocations were booked for them, by weight. -o csv is for sheets.",
			"valico usage --by person,day --from 2026-11-01", "valico usage --by project,site -o csv"),
		RunE: func(c *cobra.Command, _ []string) error { return runUsage(c.Context(), o, e) },
	}
	f := c.Flags()
	f.StringSliceVar(&o.by, "by", []string{"project", "site"}, "project, person, site, day; commas between")
	f.StringVar(&o.from, "from", "", "a day (UTC) or an RFC 3339 time; 30 days ago otherwise")
	f.StringVar(&o.until, "until", "", "that moment excluded; now otherwise")
	f.StringVar(&o.project, "project", "", "one project only")
	return c
}

func runUsage(ctx context.Context, o usageOptions, e *env) error {
	q := client.UsageQuery{By: o.by, Project: o.project}
	var err error
	if o.from != "" {
		if q.From, err = moment("--from", o.from); err != nil {
			return err
		}
	}
	if o.until != "" {
		if q.Until, err = moment("--until", o.until); err != nil {
			return err
		}
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	u, err := c.Usage(ctx, q)
	if err != nil {
		return err
	}
	if e.opts.output == outputCSV {
		return writeCSV(e.Stdout, u)
	}
	return e.emit(u, func(w io.Writer) {
		head, read := usageColumns(u)
		rows := [][]string{append(upper(head), "ATTEMPTS", "GPU-HOURS", "CHARGED", "CPU-HOURS")}
		for _, r := range u.Rows {
			rows = append(rows, append(read(r), usageFigures(r)...))
		}
		if len(u.Rows) == 0 {
			e.say("nothing was booked from %s to %s", stamp(&u.From), stamp(&u.Until))
		}
		total := make([]string, len(head))
		total[0] = "TOTAL"
		table(w, append(rows, append(total, usageFigures(u.Total)...))...)
	})
}

func usageFigures(r wire.UsageRow) []string {
	return []string{fmt.Sprint(r.Attempts), hours(r.GPUHours), hours(r.ChargedGPUHours), hours(r.CPUHours)}
}

func upper(ss []string) []string {
	out := make([]string, 0, len(ss))
	for _, s := range ss {
		out = append(out, strings.ToUpper(s))
	}
	return out
}

// usageColumns are the names that rows have, in one order.
func usageColumns(u wire.Usage) ([]string, func(wire.UsageRow) []string) {
	var head []string
	for _, name := range []string{"day", "project", "person", "site"} {
		if slices.Contains(u.By, name) {
			head = append(head, name)
		}
	}
	return head, func(r wire.UsageRow) []string {
		all := map[string]string{"day": r.Day, "project": r.ProjectName, "person": r.Person, "site": r.Site}
		out := make([]string, 0, len(head))
		for _, name := range head {
			out = append(out, all[name])
		}
		return out
	}
}

// writeCSV writes rows as RFC 4180 has them, figures in full and without total.
func writeCSV(w io.Writer, u wire.Usage) error {
	out := csv.NewWriter(w)
	head, read := usageColumns(u)
	rows := [][]string{append(slices.Clone(head), "attempts", "gpu_hours", "charged_gpu_hours", "cpu_hours", "elapsed_hours")}
	figure := func(x float64) string { return strconv.FormatFloat(x, 'f', 6, 64) }
	for _, r := range u.Rows {
		row := []string{}
		for _, cell := range read(r) {
			row = append(row, sheetSafe(clean(cell)))
		}
		rows = append(rows, append(row, strconv.FormatInt(r.Attempts, 10), figure(r.GPUHours), figure(r.ChargedGPUHours),
			figure(r.CPUHours), figure(r.ElapsedHours)))
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// sheetSafe keeps a name from being a formula where a sheet opens the file.
func sheetSafe(s string) string {
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}
