package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/policy/permit"
)

// Exit codes of the commands that the story expects.
const (
	exitOK          = 0
	exitNotAdmitted = 3
	exitNotFound    = 5
)

// Options say how the story is told.
type Options struct {
	Exe, Exec string // the two programs
	Dir       string // where everything lies; an empty folder
	Out       io.Writer
	TTY       bool
	Quiet     bool    // no narrative
	Cluster   Cluster // nil for this machine
	Now       func() time.Time
	// Serve is called when the story is over and the broker still serves; nil
	// ends at once.
	Serve func(ctx context.Context, w *World)
}

type plan = wire.Plan

// story is one telling.
type story struct {
	o       Options
	sh      *shell
	world   *World
	app     *app.App
	report  Report
	siteDir string
	attempt string
}

func (s *story) now() time.Time { return s.o.Now() }

// Run tells the story and returns what it found. An error means that a step
// did something else than the story says.
func Run(ctx context.Context, o Options) (Report, error) {
	s := &story{o: o, sh: newShell(o.Exe, o.Out, o.TTY, o.Quiet)}
	s.report.NotAdmitted, s.report.Refused, s.report.Outputs = []Reason{}, []string{}, []Output{}
	stop, err := s.open(ctx)
	if err != nil {
		return s.report, err
	}
	err = s.tell(ctx)
	if err == nil && o.Serve != nil {
		s.sh.say("\n%sserving %s%s until Ctrl-C", s.sh.bold, s.world.URL, s.sh.plain)
		s.sh.say("  as Ada:      VALICO_SERVER=%s VALICO_TOKEN_FILE=%s %s jobs", s.world.URL, s.world.TokenFile(Developer), o.Exe)
		s.sh.say("  as operator: VALICO_SERVER=%s VALICO_TOKEN_FILE=%s %s site check %s", s.world.URL, s.app.OperatorTokenFile(), o.Exe, s.world.Site.Name)
		s.sh.say("  the API:     %s/openapi.json", s.world.URL)
		s.sh.say("  everything:  %s", o.Dir)
		o.Serve(ctx, s.world)
	}
	return s.report, errors.Join(err, stop())
}

// open starts a broker with the story's world; what it returns stops it.
func (s *story) open(ctx context.Context) (stop func() error, err error) {
	s.sh.title("0  A broker with everything embedded, an authority, a synthetic cohort and a permit")
	authority, err := NewAuthority(s.o.Dir)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(s.o.Dir, "broker.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the broker's log: %w", err)
	}
	cfg := app.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.Authorities = filepath.Join(s.o.Dir, "broker"), "127.0.0.1:0", authority.AuthoritiesFile()
	cfg.Exec, cfg.Poll, cfg.Log = s.o.Exec, 100*time.Millisecond, slog.New(slog.NewJSONHandler(log, nil))
	site, data, err := s.site(&cfg)
	if err != nil {
		return nil, err
	}
	a, err := app.Open(ctx, cfg, "demo")
	if err != nil {
		return nil, err
	}
	s.app = a
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(run) }()
	stop = func() error {
		cancel()
		return errors.Join(<-done, a.Close(), log.Close())
	}
	if s.world, err = Prepare(ctx, WorldConfig{
		Dir: s.o.Dir, URL: a.URL(), OperatorToken: a.OperatorTokenFile(), Authority: authority, Site: site, DataDir: data, GPUHours: 10,
	}); err != nil {
		return nil, errors.Join(err, stop())
	}
	s.sh.world = s.world
	s.report.Site, s.report.Isolation = s.world.Site.Name, s.world.Site.Isolation
	s.siteDir = filepath.Join(cfg.DataDir, "sites", s.world.Site.ID)
	if s.o.Cluster != nil {
		s.siteDir = s.o.Cluster.SiteDir()
	}
	s.introduce()
	return stop, nil
}

// site is where the story runs: this machine, or a lab.
func (s *story) site(cfg *app.Config) (wire.Site, string, error) {
	if s.o.Cluster != nil {
		return s.o.Cluster.Site(cfg)
	}
	site, err := LocalSite()
	return site, filepath.Join(s.o.Dir, "cohort"), err
}

func (s *story) introduce() {
	d, p := s.world.Site.Datasets[0], s.world.Permit
	s.sh.say("  broker     %s", s.world.URL)
	s.sh.say("  site       %s, %s, isolation %s", s.world.Site.Name, s.world.Site.Assurance, s.world.Site.Isolation)
	s.sh.say("  dataset    %s, %d invented people, %s", d.PURI, CohortRows, d.Digest[:19])
	s.sh.say("  permit     %s, regime %s, %s until %s", p.ID, p.LegalRegime, p.Persons[0].Name, p.AccessPeriod.End.Format(time.DateOnly))
	if s.world.Site.Isolation == string(broker.IsolationNone) {
		s.sh.warn("  Unprivileged user namespaces are off here: jobs run WITHOUT isolation. That is admitted for synthetic data only.")
	}
}

func (s *story) tell(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		s.notCovered, s.realData, s.trains, s.colleague, s.decided, s.released, s.attacks, s.ledger,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// job is the job that the permit covers.
func (s *story) job() JobFile {
	j := JobFile{
		Permit: s.world.Permit.ID, Site: s.world.Site.Name, Epochs: 12, Pace: 250 * time.Millisecond, Walltime: 5 * time.Minute,
	}
	if s.o.Cluster != nil {
		j.GPUs, j.GPUType = 1, s.world.Site.GPUs[0].Name
	}
	return j
}

// plan writes a job file and plans it, for the reader and for the report.
func (s *story) plan(ctx context.Context, name string, j JobFile, wantExit int, to *plan, args ...string) error {
	if err := os.WriteFile(filepath.Join(s.o.Dir, name), []byte(j.YAML()), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return s.sh.ask(ctx, Developer, wantExit, to, append([]string{"plan", name}, args...)...)
}

// notCovered plans a job that the permit does not cover.
func (s *story) notCovered(ctx context.Context) error {
	s.sh.title("1  A job that the permit does not cover")
	if err := BuildTrainer(ctx, s.o.Dir); err != nil {
		return err
	}
	j := s.job()
	j.Purpose, j.Activity, j.Dataset = "53(1)(d)", "fine_tune", DatasetPrefix+"another-cohort"
	var p plan
	if err := s.plan(ctx, "wrong.yaml", j, exitNotAdmitted, &p); err != nil {
		return err
	}
	s.keep(p)
	return s.sh.show(ctx, Developer, exitNotAdmitted, "plan", "wrong.yaml")
}

func (s *story) keep(p plan) {
	for _, site := range p.Sites {
		for _, r := range site.Reasons {
			s.report.NotAdmitted = append(s.report.NotAdmitted, Reason{Code: r.Code, Basis: r.Basis})
		}
	}
}

// realData plans the corrected job under a permit for real data, from files
// alone: the site lacks what real data need, one reason each.
func (s *story) realData(ctx context.Context) error {
	s.sh.title("   Real data are refused here, with one reason for each thing that the site lacks")
	doc := Permit(s.now(), s.world.Site.Name)
	doc.ID, doc.LegalRegime = "national-1", permit.RegimeNationalPermit
	doc.Datasets[0].AccessFormat = "ANONYMISED"
	jws, err := s.world.Authority.Sign(doc)
	if err != nil {
		return err
	}
	status, err := s.world.Authority.SignStatus(doc, permit.StatusGranted, s.now())
	if err != nil {
		return err
	}
	site, err := s.world.SiteFile()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"national.jws": jws, "national-status.jws": status, "site.yaml": site} {
		if err := os.WriteFile(filepath.Join(s.o.Dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	j := s.job()
	j.Permit = doc.ID
	args := []string{
		"--permit", "national.jws", "--status", "national-status.jws", "--site", "site.yaml",
		"--trust", filepath.Base(s.world.Authority.AuthoritiesFile()), "--person", string(Developer), "--gpu-hours", "10",
	}
	var p plan
	if err := s.plan(ctx, "real.yaml", j, exitNotAdmitted, &p, args...); err != nil {
		return err
	}
	needs := 0
	for _, r := range p.Sites[0].Reasons {
		if len(r.Code) > 16 && r.Code[:16] == "real_data_needs." {
			needs++
		}
	}
	if needs != 5 {
		return fmt.Errorf("real data: %d reasons of real_data_needs where the story has 5", needs)
	}
	s.keep(p)
	return s.sh.show(ctx, Developer, exitNotAdmitted, append([]string{"plan", "real.yaml"}, args...)...)
}

// trains submits the corrected job and watches it train.
func (s *story) trains(ctx context.Context) error {
	s.sh.title("2  The corrected job: admitted, packaged, signed, cleared, verified on the node, trained")
	var p plan
	if err := s.plan(ctx, "job.yaml", s.job(), exitOK, &p); err != nil {
		return err
	}
	if err := s.sh.show(ctx, Developer, exitOK, "plan", "job.yaml"); err != nil {
		return err
	}
	var job wire.Job
	if err := s.sh.ask(ctx, Developer, exitOK, &job, "submit", "job.yaml"); err != nil {
		return err
	}
	s.report.Job = job.ID
	s.sh.say("\n%sada$ valico submit job.yaml%s\n%s %s", s.sh.bold, s.sh.plain, job.ID, job.State)
	if err := s.sh.show(ctx, Developer, exitOK, "watch", job.ID); err != nil {
		return err
	}
	return s.trained(ctx)
}

// trained waits for the job's end and reads what came back.
func (s *story) trained(ctx context.Context) error {
	c := s.world.Client(Developer)
	var first, last float64
	err := c.Follow(ctx, s.report.Job, 0, func(e wire.Event) error {
		s.report.Telemetry.Events++
		if e.Kind == broker.EventMetric {
			s.report.Telemetry.Metrics++
		}
		if e.Kind == broker.EventMetric && e.Name == "loss" {
			if first == 0 {
				first = e.Value
			}
			last = e.Value
		}
		return nil
	}, nil)
	if err != nil {
		return fmt.Errorf("follow the job: %w", err)
	}
	job, err := c.Job(ctx, s.report.Job)
	if err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	s.report.State = job.State
	if job.State != string(broker.JobSucceeded) {
		return fmt.Errorf("the job ended as %s (%s)", job.State, job.Code)
	}
	if last <= 0 || last >= first {
		return fmt.Errorf("the loss went from %g to %g: nothing was learnt", first, last)
	}
	at := job.Attempts[len(job.Attempts)-1]
	s.attempt = at.ID
	// The launcher refuses an order, a signature or a byte that does not verify,
	// so a start is the proof that all of them did.
	s.report.Image = Image{Digest: at.Image, Verified: at.Outcome == string(broker.OutcomeOK)}
	return nil
}

// colleague lets a second person submit to a lab: two persons of one broker
// are two owners there.
func (s *story) colleague(ctx context.Context) error {
	if s.o.Cluster == nil {
		return nil
	}
	s.sh.title("   A second person's job runs as that person's own account")
	if err := s.sh.ask(ctx, Colleague, exitOK, nil, "submit", "job.yaml", "--wait"); err != nil {
		return err
	}
	asked, table, err := s.o.Cluster.accounting(ctx)
	if err != nil {
		return err
	}
	for _, account := range s.world.Site.Accounts {
		if !strings.Contains(table, account) {
			return fmt.Errorf("no job of account %s in the accounting:\n%s", account, table)
		}
	}
	s.sh.say("\nroot$ %s\n%s", asked, strings.TrimRight(table, "\n"))
	return nil
}

// decided shows both decisions with their leaves.
func (s *story) decided(ctx context.Context) error {
	s.sh.title("3  Both decisions, the sealed outputs, and their release")
	ds, err := s.world.Client(Developer).Decisions(ctx, s.report.Job)
	if err != nil {
		return fmt.Errorf("read the decisions: %w", err)
	}
	for _, d := range ds.Decisions {
		s.report.Decisions = append(s.report.Decisions, Decision{Kind: d.Kind, Verdict: d.Verdict, LedgerIndex: d.LedgerIndex})
	}
	if len(ds.Decisions) != 2 {
		return fmt.Errorf("%d decisions where the story has an admission and a clearance", len(ds.Decisions))
	}
	return s.sh.show(ctx, Developer, exitOK, "why", s.report.Job)
}

// released has the outputs reviewed, released and fetched.
func (s *story) released(ctx context.Context) error {
	var sealed wire.Outputs
	if err := s.sh.ask(ctx, Developer, exitOK, &sealed, "outputs", "list", s.report.Job); err != nil {
		return err
	}
	if len(sealed.Outputs) != 1 || sealed.Outputs[0].Released || len(sealed.Outputs[0].Files) == 0 {
		return fmt.Errorf("the outputs are not sealed as the story says: %+v", sealed.Outputs)
	}
	id, results := s.report.Job, filepath.Join(s.o.Dir, "results")
	if err := s.sh.ask(ctx, Developer, exitNotFound, nil, "fetch", id, "model.json", "--dir", results); err != nil {
		return err
	}
	for _, step := range []struct {
		as   broker.PersonID
		exit int
		args []string
	}{
		{Developer, exitOK, []string{"outputs", "list", id}},
		{Developer, exitNotFound, []string{"fetch", id, "model.json"}},
	} {
		if err := s.sh.show(ctx, step.as, step.exit, step.args...); err != nil {
			return err
		}
	}
	key := filepath.Base(s.world.Authority.KeyFile("reviewer"))
	var rel wire.Release
	if err := s.sh.ask(ctx, Reviewer, exitOK, &rel, "outputs", "release", id, "--key", key); err != nil {
		return err
	}
	s.sh.say("\n%srita$ valico outputs release %s --key %s%s\nreleased %s, ledger entry %d", s.sh.bold, id, key, s.sh.plain, rel.Manifest, rel.LedgerIndex)
	if err := s.sh.ask(ctx, Developer, exitOK, nil, "fetch", id, "--dir", results); err != nil {
		return err
	}
	s.sh.say("\n%sada$ valico fetch %s --dir results%s", s.sh.bold, id, s.sh.plain)
	for _, f := range sealed.Outputs[0].Files {
		b, err := os.ReadFile(filepath.Join(results, f.Path)) //nolint:gosec // what was just fetched
		if err != nil {
			return fmt.Errorf("read the fetched output: %w", err)
		}
		if got := string(broker.DigestOf(b)); got != f.Digest {
			return fmt.Errorf("%s was fetched as %s and sealed as %s", f.Path, got, f.Digest)
		}
		s.report.Outputs = append(s.report.Outputs, Output{Path: f.Path, Digest: f.Digest, Released: true})
		s.sh.say("  ✓ %-14s %6d bytes, digest equal to the sealed one: %s", f.Path, f.SizeBytes, f.Digest[:19])
	}
	return nil
}

// ledger verifies the whole log without trusting the broker.
func (s *story) ledger(ctx context.Context) error {
	s.sh.title("5  The ledger, verified from its leaves")
	key := filepath.Join(s.o.Dir, "broker", "keys", "ledger.pub")
	if err := s.sh.ask(ctx, OperatorID, exitOK, nil, "ledger", "verify", "--key", key); err != nil {
		return err
	}
	return s.sh.show(ctx, OperatorID, exitOK, "ledger", "verify", "--key", key)
}
