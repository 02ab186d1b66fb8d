package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Host satisfies httpapi.Probe: what there is on this machine for a site whose
// agent runs here, and what nobody could look at from here.
func (p probe) Host(_ context.Context, s broker.Site) ([]wire.ReportSection, error) {
	at, _ := p.app.site(s.ID)
	if _, here := at.(*agent.Agent); !here {
		elsewhere := []wire.ReportLine{notMeasured("agent", "the site's agent is a process of another machine; what it says of itself: valico site agent "+s.Name)}
		return []wire.ReportSection{
			{Title: "Processes and ports", Lines: elsewhere},
			{Title: "How to cut it off", Lines: p.stop(s, "")},
			{Title: "What data it keeps", Lines: elsewhere},
			{Title: "What was not looked at", Lines: unseen(s)},
		}, nil
	}
	dir := p.app.siteDir(s)
	return []wire.ReportSection{
		{Title: "Processes and ports", Lines: processes()},
		{Title: "How to cut it off", Lines: p.stop(s, dir)},
		{Title: "What data it keeps", Lines: append(data(dir), p.app.cfg.Keep.lines()...)},
		{Title: "What was not looked at", Lines: unseen(s)},
	}, nil
}

func line(name string, ok bool, text string) wire.ReportLine {
	return wire.ReportLine{Name: name, Basis: wire.BasisMeasured, OK: ok, Text: text}
}

// byDesign is what tests hold the program to.
func byDesign(name, text string) wire.ReportLine {
	return wire.ReportLine{Name: name, Basis: wire.BasisDesign, OK: true, Text: text}
}

func notMeasured(name, why string) wire.ReportLine {
	return wire.ReportLine{Name: name, Basis: wire.BasisNotMeasured, Text: why}
}

// processes are this process, what it may do, where it listens and what it
// started.
func processes() []wire.ReportLine {
	uid := os.Geteuid()
	who := fmt.Sprintf("uid %d", uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		who = u.Username + " (" + who + ")"
	}
	path, err := os.Executable()
	if err != nil {
		path = "a program whose path is not known"
	}
	out := []wire.ReportLine{line("process", uid != 0, fmt.Sprintf("%d, %s, as %s; broker and agent in one", os.Getpid(), path, who))}
	caps, err := capabilities()
	if err != nil {
		out = append(out, notMeasured("capabilities", err.Error()))
	} else {
		out = append(out, line("capabilities", strings.Trim(caps, "0") == "", "effective "+caps+"; zeros are none"))
	}
	listens, err := listeners()
	switch {
	case err != nil:
		out = append(out, notMeasured("listens", err.Error()))
	case len(listens) == 0:
		out = append(out, line("listens", true, "nowhere"))
	}
	for _, l := range listens {
		out = append(out, line("listens", true, l))
	}
	started, err := descendants()
	switch {
	case err != nil:
		out = append(out, notMeasured("started", err.Error()))
	case len(started) == 0:
		out = append(out, line("started", true, "no process now"))
	}
	for _, c := range started {
		out = append(out, line("started", true, fmt.Sprintf("%d, %s, by %d", c.pid, c.name, c.parent)))
	}
	return out
}

// stop are the commands that cut Valico off, from the gentlest on.
func (p probe) stop(s broker.Site, dir string) []wire.ReportLine {
	out := []wire.ReportLine{
		byDesign("nothing_new", "valico site cordon "+s.Name+" --reason WHY   (what runs goes on)"),
		byDesign("empty_it", "valico site drain "+s.Name+" --reason WHY --wait   (what has not begun ends as cancelled)"),
	}
	if dir != "" {
		trust := filepath.Join(dir, "trust.json")
		out = append(out,
			byDesign("without_us", "mv "+trust+" "+trust+".off   (the agent takes no order from then on; what it has staged, and what runs, goes on)"),
			byDesign("the_process", fmt.Sprintf("kill -TERM %d   (what runs goes on, and its outputs stay sealed)", os.Getpid())))
	}
	accounts := slices.Compact(slices.Sorted(maps.Values(s.Accounts)))
	switch s.Scheduler {
	case schedulerSlurm:
		for _, a := range accounts {
			out = append(out, byDesign("running_jobs", "scancel --user="+a+"   (all jobs of that account, whoever submitted them)"))
		}
	case schedulerNomad:
		ns := p.app.cfg.Nomad[s.Name].Namespace
		if ns == "" {
			ns = "default"
		}
		out = append(out, byDesign("running_jobs", "nomad job status -namespace="+ns+", then nomad job stop -namespace="+ns+" JOB for each"))
	case schedulerLocal:
		out = append(out, byDesign("running_jobs", "valico cancel JOB for each of valico jobs; each is a process that the broker started, above"))
	}
	return out
}

// data is what lies in the site's folder.
func data(dir string) []wire.ReportLine {
	sizes, whole := kept(dir)
	out := []wire.ReportLine{line("folder", true, dir)}
	words := map[string]string{
		"attempts": "orders, scripts and outputs of attempts", "images": "unpacked images", "journal": "what the agent did with each attempt",
		"quarantine": "sealed outputs that nobody released", "released": "outputs that a reviewer released",
		"trust.json": "the keys, persons and datasets that the site pinned",
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		text := fmt.Sprintf("%s: %d bytes", name, sizes[name])
		if w := words[name]; w != "" {
			text += ", " + w
		}
		out = append(out, line("kept", true, text))
	}
	if !whole {
		out = append(out, notMeasured("kept", "the sums above are not all: some files could not be read, or there are more than "+strconv.Itoa(walkMost)))
	}
	return out
}

// unseen is what nothing that runs here can look at.
func unseen(s broker.Site) []wire.ReportLine {
	out := []wire.ReportLine{
		notMeasured("node_access", "whether a person can log in to a node where a job runs: ask for it as that person"),
		notMeasured("data_access", "whether the account reads the datasets outside a job: nothing shuts them at an advisory site"),
		notMeasured("fabric", "whether ranks of different jobs reach each other over the fabric: it needs two jobs of two accounts"),
	}
	if s.Scheduler != schedulerLocal {
		out = append(out,
			notMeasured("node_isolation", "namespaces on the nodes: valico-exec tries them when a job starts and refuses what it does not find; none was started for this page"),
			notMeasured("node_proc", "whether other users of a node see a job's processes: it needs a process on a node"))
	}
	if len(s.GPUs) > 0 && s.Scheduler == schedulerLocal {
		out = append(out, notMeasured("gpus", "the local scheduler knows no GPUs: their number is the site file's"))
	}
	return out
}
