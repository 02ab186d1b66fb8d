package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func newAllocationCommand(e *env) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the GPU time granted", Args: args(),
		Long: help("List prints what your project was granted at each site, what is reserved, used and left.\n"+
			"Operators see all projects of their organisation.", "valico allocation list"),
		RunE: func(c *cobra.Command, _ []string) error { return runAllocationList(c.Context(), e) },
	}
	show := &cobra.Command{
		Use: "show ALLOCATION", Short: "Show an allocation and what operators did with it", Args: args("ALLOCATION"),
		Long: help("Show prints the terms of an allocation, how it stands, and each act of an operator with its ledger leaf.",
			"valico allocation show alc_…"),
		RunE: func(c *cobra.Command, a []string) error { return runAllocationShow(c.Context(), a[0], e) },
	}
	return group("allocation", "Grant GPU time and see what is left of it",
		newAllocationCreateCommand(e), list, show, newAllocationAdjustCommand(e),
		newFreezeCommand(e, "freeze", "Let an allocation take no new job", "Those that it has go on to their end.", true),
		newFreezeCommand(e, "thaw", "Let a frozen allocation take jobs again", "It takes new jobs again, on its terms.", false))
}

// terms are the flags of create and adjust.
type terms struct {
	gpuHours         float64
	from, until      string
	days             int
	weights          map[string]string
	maxGPUs, maxJobs int
	maxWall          time.Duration
	reason           string
	project, site    string
	mode             string
	version          int64
	allocation       string
}

func (o *terms) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.Float64Var(&o.gpuHours, "gpu-hours", 0, "GPU-hours granted in all, charged by weight")
	f.StringVar(&o.from, "from", "", "when it begins: a day (UTC) or an RFC 3339 time")
	f.StringVar(&o.until, "until", "", "when it ends, that moment excluded")
	f.StringToStringVar(&o.weights, "weight", nil, "price of a type of GPU, for example h100=1.5; 1 for types not named")
	f.IntVar(&o.maxGPUs, "max-gpus", 0, "GPUs of jobs that have not ended, at most; 0 for no limit")
	f.IntVar(&o.maxJobs, "max-jobs", 0, "jobs that have not ended, at most; 0 for no limit")
	f.DurationVar(&o.maxWall, "max-walltime", 0, "walltime of one job, at most; 0 for no limit")
	f.StringVar(&o.reason, "reason", "", "why; kept in the ledger")
	_ = c.MarkFlagRequired("reason") // the flag was made above
}

func newAllocationCreateCommand(e *env) *cobra.Command {
	var o terms
	c := &cobra.Command{
		Use: "create", Short: "Grant a project GPU time at a site", Args: args(),
		Long: help("Create grants a project GPU time at a site for one access mode. Needs the role operator.\n"+
			"A job reserves GPUs × weight × (walltime + the site's kill margin) when it is admitted; what it did not use is\n"+
			"given back when it ends, and what it used beyond is booked. The act is a leaf of the ledger.",
			`valico allocation create --site leonardo --mode fast_lane --gpu-hours 5000 --days 90 \
      --weight h100=1.5 --max-gpus 64 --max-walltime 24h --reason "call 2026-11"`),
		RunE: func(c *cobra.Command, _ []string) error { return runAllocationCreate(c.Context(), o, e) },
	}
	o.addFlags(c)
	f := c.Flags()
	f.StringVar(&o.site, "site", "", "name of the site")
	f.StringVar(&o.mode, "mode", "playground", "access mode: the call's own word")
	f.StringVar(&o.project, "project", "", "project; yours otherwise")
	f.IntVar(&o.days, "days", 365, "how many days it is valid, without --until")
	_ = c.MarkFlagRequired("site")      // the flag was made above
	_ = c.MarkFlagRequired("gpu-hours") // as above
	return c
}

func runAllocationCreate(ctx context.Context, o terms, e *env) error {
	in := wire.AllocationCreate{
		Project: o.project, Site: o.site, AccessMode: o.mode, GPUHours: o.gpuHours, MaxGPUs: o.maxGPUs, MaxJobs: o.maxJobs,
		MaxWallSeconds: int64(o.maxWall / time.Second), Reason: o.reason,
	}
	var err error
	if in.Weights, err = readWeights(o.weights); err != nil {
		return err
	}
	from := e.Now()
	if o.from != "" {
		if from, err = moment("--from", o.from); err != nil {
			return err
		}
		in.ValidFrom = &from
	}
	in.ValidUntil = from.AddDate(0, 0, o.days)
	if o.until != "" {
		if in.ValidUntil, err = moment("--until", o.until); err != nil {
			return err
		}
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	out, err := c.CreateAllocation(ctx, in, broker.NewID[string]("key"))
	if err != nil {
		return err
	}
	return e.emit(out, func(w io.Writer) { printAllocation(w, out) })
}

func newAllocationAdjustCommand(e *env) *cobra.Command {
	var o terms
	c := &cobra.Command{
		Use: "adjust ALLOCATION", Short: "Change terms of an allocation", Args: args("ALLOCATION"),
		Long: help("Adjust changes the terms that you name; the others stay. Needs the role operator. What jobs have reserved stays\n"+
			"as it is: new weights and limits are for the jobs to come. A grant is not lowered below what is reserved and used.\n"+
			"With --version the change is made only if the allocation still is as you saw it.",
			`valico allocation adjust alc_… --gpu-hours 8000 --version 3 --reason "extension granted"`),
		RunE: func(c *cobra.Command, a []string) error {
			o.allocation = a[0]
			return runAllocationAdjust(c.Context(), c.Flags().Changed, o, e)
		},
	}
	o.addFlags(c)
	c.Flags().Int64Var(&o.version, "version", 0, "version that you saw; the newest otherwise")
	return c
}

func runAllocationAdjust(ctx context.Context, changed func(string) bool, o terms, e *env) error {
	in, err := o.adjust(changed)
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	if o.version == 0 {
		seen, err := c.Allocation(ctx, o.allocation)
		if err != nil {
			return err
		}
		o.version = seen.Version
	}
	out, err := c.AdjustAllocation(ctx, o.allocation, o.version, in)
	if err != nil {
		return err
	}
	return e.emit(out, func(w io.Writer) { printAllocation(w, out) })
}

// adjust takes the terms whose flags were given.
func (o terms) adjust(changed func(string) bool) (wire.AllocationAdjust, error) {
	in := wire.AllocationAdjust{Reason: o.reason}
	if changed("gpu-hours") {
		in.GPUHours = &o.gpuHours
	}
	if changed("max-gpus") {
		in.MaxGPUs = &o.maxGPUs
	}
	if changed("max-jobs") {
		in.MaxJobs = &o.maxJobs
	}
	if changed("max-walltime") {
		seconds := int64(o.maxWall / time.Second)
		in.MaxWallSeconds = &seconds
	}
	if changed("weight") {
		ws, err := readWeights(o.weights)
		if err != nil {
			return in, err
		}
		in.Weights = &ws
	}
	for _, x := range []struct {
		flag, value string
		to          **time.Time
	}{{"from", o.from, &in.ValidFrom}, {"until", o.until, &in.ValidUntil}} {
		if !changed(x.flag) {
			continue
		}
		at, err := moment("--"+x.flag, x.value)
		if err != nil {
			return in, err
		}
		*x.to = &at
	}
	return in, nil
}

func newFreezeCommand(e *env, verb, short, long string, frozen bool) *cobra.Command {
	var reason string
	var version int64
	c := &cobra.Command{
		Use: verb + " ALLOCATION", Short: short, Args: args("ALLOCATION"),
		Long: help(short+". "+long+" Needs the role operator.", `valico allocation `+verb+` alc_… --reason "audit"`),
		RunE: func(c *cobra.Command, a []string) error {
			return runFreeze(c.Context(), a[0], version, reason, frozen, e)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; kept in the ledger")
	c.Flags().Int64Var(&version, "version", 0, "version that you saw; the newest otherwise")
	_ = c.MarkFlagRequired("reason") // the flag was made above
	return c
}

func runFreeze(ctx context.Context, id string, version int64, reason string, frozen bool, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	if version == 0 {
		seen, err := c.Allocation(ctx, id)
		if err != nil {
			return err
		}
		version = seen.Version
	}
	change := c.ThawAllocation
	if frozen {
		change = c.FreezeAllocation
	}
	out, err := change(ctx, id, version, reason)
	if err != nil {
		return err
	}
	return e.emit(out, func(w io.Writer) { printAllocation(w, out) })
}

func runAllocationList(ctx context.Context, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	as, err := c.Allocations(ctx)
	if err != nil {
		return err
	}
	return e.emit(as, func(w io.Writer) {
		rows := [][]string{{"ALLOCATION", "SITE", "MODE", "GRANTED", "RESERVED", "USED", "LEFT", "JOBS", "UNTIL", "STATE"}}
		for _, a := range as.Allocations {
			rows = append(rows, []string{
				a.ID, a.Site, a.AccessMode, hours(a.GPUHours), hours(a.Reserved), hours(a.Used), hours(a.Available), fmt.Sprint(a.OpenJobs),
				stamp(&a.ValidUntil), allocationState(a, e.Now()),
			})
		}
		table(w, rows...)
	})
}

func allocationState(a wire.Allocation, now time.Time) string {
	switch {
	case a.Frozen:
		return "frozen"
	case now.Before(a.ValidFrom):
		return "not begun"
	case !now.Before(a.ValidUntil):
		return "over"
	case a.Available <= 0:
		return "used up"
	}
	return "open"
}

func runAllocationShow(ctx context.Context, id string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	a, err := c.Allocation(ctx, id)
	if err != nil {
		return err
	}
	return e.emit(a, func(w io.Writer) {
		printAllocation(w, a)
		fmt.Fprintln(w)
		rows := [][]string{{"VERSION", "ACT", "BY", "AT", "LEAF", "REASON"}}
		for _, x := range a.Acts {
			rows = append(rows, []string{fmt.Sprint(x.Version), x.Act, x.By, stamp(&x.At), fmt.Sprint(x.LedgerIndex), x.Reason})
		}
		table(w, rows...)
	})
}

func printAllocation(w io.Writer, a wire.Allocation) {
	limit := func(n int64, unit string) string {
		if n == 0 {
			return "no limit"
		}
		return fmt.Sprintf("%d %s", n, unit)
	}
	weights := make([]string, 0, len(a.Weights))
	for _, name := range slices.Sorted(maps.Keys(a.Weights)) {
		weights = append(weights, name+"="+strconv.FormatFloat(a.Weights[name], 'f', -1, 64))
	}
	wall := "no limit"
	if a.MaxWallSeconds > 0 {
		wall = (time.Duration(a.MaxWallSeconds) * time.Second).String()
	}
	state := "takes jobs"
	if a.Frozen {
		state = "frozen: takes no new job"
	}
	table(w,
		[]string{"ALLOCATION", a.ID}, []string{"PROJECT", a.Project}, []string{"SITE", a.Site}, []string{"MODE", a.AccessMode},
		[]string{"STATE", state}, []string{"VERSION", fmt.Sprint(a.Version)},
		[]string{"GRANTED", hours(a.GPUHours) + " GPU-hours"}, []string{"RESERVED", hours(a.Reserved)}, []string{"USED", hours(a.Used)},
		[]string{"LEFT", hours(a.Available)}, []string{"VALID", stamp(&a.ValidFrom) + " to " + stamp(&a.ValidUntil)},
		[]string{"WEIGHTS", dash(strings.Join(weights, ", "))},
		[]string{"GPUS AT ONCE", fmt.Sprintf("%d of %s", a.OpenGPUs, limit(int64(a.MaxGPUs), "GPUs"))},
		[]string{"JOBS AT ONCE", fmt.Sprintf("%d of %s", a.OpenJobs, limit(int64(a.MaxJobs), "jobs"))},
		[]string{"LONGEST JOB", wall})
}

// readWeights reads TYPE=PRICE.
func readWeights(in map[string]string) (map[string]float64, error) {
	out := map[string]float64{}
	for name, text := range in {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, invalid("usage", "a weight is a number", "--weight TYPE=PRICE, above 0 and at most 1000", name+"="+text, "for example --weight h100=1.5")
		}
		out[name] = x
	}
	return out, nil
}

// moment reads a day, which begins at midnight UTC, or a time.
func moment(flag, s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, invalid("usage", flag+" is not a time", "a day, 2026-11-24, or a time, 2026-11-24T12:00:00Z", s, "write it in one of these forms")
}
