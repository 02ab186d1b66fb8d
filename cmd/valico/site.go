package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	gojson "github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
)

const exampleSite = `  name: local
  country: IT
  operator: Example site operator
  scheduler: local            # or slurm
  assurance: advisory         # or enforced
  isolation: userns           # or none
  gpus: [{name: h100, per_node: 4}]
  max_nodes: 1
  cpus_per_node: 8
  memory_mib: 16384
  max_wall_seconds: 3600
  kill_margin_seconds: 30
  accounts: {ada@biotech.example: ada}
  datasets:
    - puri: https://data.example/dataset/synthetic-screening
      version: "1"
      path: /srv/data/screening
      digest: sha256:…
      format: text/csv
      holder: holder-sandbox
      country: IT
      categories: [p]
      synthetic: true`

func newSiteCommand(e *env) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the admitted sites", Args: args(),
		Long: help("List prints the admitted sites and your account at each.", "valico site list"),
		RunE: func(c *cobra.Command, _ []string) error { return runSiteList(c.Context(), e) },
	}
	report := false
	check := &cobra.Command{
		Use: "check SITE", Short: "Say what Valico can do at a site, and as whom", Args: args("SITE"),
		Long: help("Check prints one line per thing that matters at a site, and what helps where it is missing.\n"+
			"With --report it prints the page that a site's operator keeps: what Valico can do there, as whom, and how to cut it\n"+
			"off; each line says whether it was measured. The page needs the role operator.", "valico site check local", "valico site check leonardo --report"),
		RunE: func(c *cobra.Command, a []string) error {
			if report {
				return runSiteReport(c.Context(), a[0], e)
			}
			return runSiteCheck(c.Context(), a[0], e)
		},
	}
	check.Flags().BoolVar(&report, "report", false, "print the page for the site's operator")
	digest := &cobra.Command{
		Use: "digest DIR", Short: "Print the digest of a dataset's folder", Args: args("DIR"),
		Long: help("Digest hashes every file below a folder and prints the digest of their manifest, as a site file names it.",
			"valico site digest /srv/data/screening"),
		RunE: func(_ *cobra.Command, a []string) error { return runSiteDigest(a[0], e) },
	}
	return group("site", "Admit, list and check sites", newSiteAddCommand(e), newSiteAgentCommand(e), list, newSiteShowCommand(e), check, digest,
		newCordonCommand(e), newDrainCommand(e), newResumeCommand(e))
}

func runSiteDigest(dir string, e *env) error {
	d, err := app.DatasetDigest(dir)
	if err != nil {
		return fileError("hash the dataset", dir, err)
	}
	return e.emit(map[string]string{"digest": string(d)}, func(w io.Writer) { fmt.Fprintln(w, d) })
}

type siteAddOptions struct {
	file     string
	gpuHours float64
	days     int
	agent    string // enrolment.json of a remote site
	record   string // where the broker's record is written
}

func newSiteAddCommand(e *env) *cobra.Command {
	var o siteAddOptions
	c := &cobra.Command{
		Use: "add SITE.yaml", Short: "Admit a site", Args: args("SITE.yaml"),
		Long: help("Add admits a site and, with --gpu-hours, grants your project GPU time there. Needs the role operator.\n\nSITE FILE\n"+exampleSite,
			"valico site add site.yaml --gpu-hours 100",
			"valico site add site.yaml --agent enrolment.json --broker-record broker.json"),
		RunE: func(c *cobra.Command, a []string) error {
			o.file = a[0]
			return runSiteAdd(c.Context(), o, e)
		},
	}
	c.Flags().Float64Var(&o.gpuHours, "gpu-hours", 0, "GPU-hours granted to your project")
	c.Flags().IntVar(&o.days, "days", 365, "how many days the grant is valid")
	c.Flags().StringVar(&o.agent, "agent", "", "enrolment.json of a site whose agent runs there")
	c.Flags().StringVar(&o.record, "broker-record", "", "write what that site pins of this broker to a file")
	return c
}

// readSite reads a site file strictly; its keys are those of the API.
func readSite(path string) (wire.Site, error) {
	b, err := readFile("the site file", path)
	if err != nil {
		return wire.Site{}, err
	}
	bad := func(err error) (wire.Site, error) {
		return wire.Site{}, invalid("site_invalid", "the site file is not understood: "+strings.ReplaceAll(err.Error(), "\n", " "),
			"a site file is one YAML document with the keys of: valico site add --help", path, "correct the file")
	}
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return bad(err)
	}
	if b, err = json.Marshal(doc); err != nil {
		return bad(err)
	}
	var s wire.Site
	if err := gojson.Unmarshal(b, &s, gojson.RejectUnknownMembers(true)); err != nil {
		return bad(err)
	}
	return s, nil
}

func runSiteAdd(ctx context.Context, o siteAddOptions, e *env) error {
	s, err := readSite(o.file)
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	add := wire.SiteAdd{Site: s, GPUHours: o.gpuHours, Days: o.days}
	if o.agent != "" {
		k, err := readAgentKeys(o.agent)
		if err != nil {
			return err
		}
		add.Agent = &k
	}
	out, err := c.AddSite(ctx, add)
	if err != nil {
		return err
	}
	if o.agent != "" {
		return runSiteAgent(ctx, out.Name, siteAgentOptions{record: o.record}, e)
	}
	return e.emit(out, func(w io.Writer) {
		table(w, []string{"SITE", out.Name}, []string{"ID", out.ID}, []string{"GRANTED", hours(o.gpuHours) + " GPU-hours"},
			[]string{"NEXT", "valico site check " + out.Name})
	})
}

func runSiteList(ctx context.Context, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	sites, err := c.Sites(ctx)
	if err != nil {
		return err
	}
	return e.emit(sites, func(w io.Writer) {
		rows := [][]string{{"SITE", "STATE", "JOBS", "COUNTRY", "SCHEDULER", "ASSURANCE", "ISOLATION", "GPUS", "DATASETS", "YOUR ACCOUNT"}}
		for _, s := range sites.Sites {
			var gpus []string
			for _, g := range s.GPUs {
				gpus = append(gpus, fmt.Sprintf("%d×%s", g.PerNode, g.Name))
			}
			rows = append(rows, []string{
				s.Name, siteState(s.Operation), jobsAt(s.Operation), s.Country, s.Scheduler, s.Assurance, s.Isolation, dash(strings.Join(gpus, " ")), fmt.Sprint(len(s.Datasets)), dash(s.Account),
			})
		}
		table(w, rows...)
		if len(sites.Sites) == 0 {
			e.say("no site is admitted yet; an operator does it with: valico site add")
		}
	})
}

func runSiteCheck(ctx context.Context, name string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	r, err := c.CheckSite(ctx, name)
	if err != nil {
		return err
	}
	return e.emit(r, func(w io.Writer) {
		rows := [][]string{{"", "CHECK", "FOUND", "WHAT HELPS"}}
		for _, x := range r.Checks {
			mark, helps := "✓", ""
			if !x.OK {
				mark, helps = "✗", x.Help
			}
			rows = append(rows, []string{mark, x.Name, dash(x.Found), helps})
		}
		table(w, rows...)
	})
}
