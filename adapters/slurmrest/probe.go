package slurmrest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// Finding is one thing that was measured at a site.
type Finding struct {
	Name  string
	OK    bool
	Found string
	Help  string // what to do when it is not OK
}

// probeFor bounds all questions together.
const probeFor = 30 * time.Second

// Probe measures what an agent with these settings can do at a site, and submits
// nothing: it starts a slurmrestd of each account, as the agent does, in a folder
// of its own, and asks for what the settings name.
func Probe(ctx context.Context, c Config) []Finding {
	broken := func(err error) []Finding {
		return []Finding{{Name: "slurm", Found: say(err), Help: "the site operator corrects the site's section of the configuration"}}
	}
	if err := os.MkdirAll(c.Dir, 0o711); err != nil { //nolint:gosec // passed through, not listed
		return broken(err)
	}
	dir, err := os.MkdirTemp(c.Dir, "p")
	if err != nil {
		return broken(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()     // a folder of sockets
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // accounts pass through it
		return broken(err)
	}
	c.Dir = dir
	s, err := New(c)
	if err != nil {
		return broken(err)
	}
	defer func() { _ = s.Close() }() // it never fails
	ctx, done := context.WithTimeout(ctx, probeFor)
	defer done()
	var out []Finding
	for i, account := range s.cfg.Accounts {
		f, cl := s.probeAccount(ctx, account)
		out = append(out, f)
		if cl == nil {
			continue
		}
		if i == 0 {
			out = append(out, s.probeNames(ctx, cl)...)
		}
		out = append(out, s.probeAssociations(ctx, cl, account)...)
	}
	return out
}

// say is an error in Slurm's own words where it has some.
func say(err error) string {
	if e, ok := errors.AsType[*broker.Error](err); ok {
		return strings.TrimSuffix(e.Message+": "+fmt.Sprint(e.Err), ": <nil>")
	}
	return err.Error()
}

func (s *Scheduler) probeAccount(ctx context.Context, name string) (Finding, *slurm.Client) {
	f := Finding{Name: "slurm_account " + name}
	cl, err := s.clientOf(ctx, name)
	if err == nil {
		if err = cl.Ping(ctx); err == nil {
			f.OK, f.Found = true, "slurmctld answers, API "+cl.Version()
			return f, cl
		}
		err = translate("ask slurmctld", err)
	}
	f.Found, f.Help = say(err), "the site operator looks whether Slurm, munge and slurmrestd run"
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Help != "" {
		f.Help = e.Who + ": " + e.Help
	}
	return f, nil
}

func (s *Scheduler) clientOf(ctx context.Context, name string) (*slurm.Client, error) {
	a, err := s.account(ctx, name)
	if err != nil {
		return nil, err
	}
	return a.daemon.client(ctx)
}

// setting is a configured value and what there is.
type setting struct {
	key, value string
	list       func(context.Context) ([]string, error)
}

// probeNames looks for partitions, the reservation and the constraint's features.
func (s *Scheduler) probeNames(ctx context.Context, cl *slurm.Client) []Finding {
	wanted := []setting{{"partition", s.cfg.Partition, cl.Partitions}}
	for gpu, p := range s.cfg.Partitions {
		wanted = append(wanted, setting{"partitions." + gpu, p, cl.Partitions})
	}
	wanted = append(wanted, setting{"reservation", s.cfg.Reservation, cl.Reservations})
	for _, feature := range features(s.cfg.Constraint) {
		wanted = append(wanted, setting{"constraint", feature, cl.Features})
	}
	slices.SortStableFunc(wanted, func(a, b setting) int { return strings.Compare(a.key, b.key) })
	var out []Finding
	for _, w := range wanted {
		if w.value == "" {
			continue
		}
		have, err := w.list(ctx)
		if err != nil {
			err = translate("ask which there are", err)
		}
		out = append(out, exists("slurm_"+w.key, w.key, w.value, have, err))
	}
	return out
}

// features are the names in a constraint such as "nvlink&[rack1*2|rack2]": a
// number behind a star counts nodes.
func features(constraint string) []string {
	var out []string
	for _, part := range strings.FieldsFunc(constraint, func(r rune) bool { return strings.ContainsRune("&|,[]()", r) }) {
		if name, _, _ := strings.Cut(part, "*"); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// probeAssociations looks whether a person's account may use what is configured.
func (s *Scheduler) probeAssociations(ctx context.Context, cl *slurm.Client, name string) []Finding {
	if s.cfg.SlurmAccount == "" && s.cfg.QOS == "" {
		return nil
	}
	all, err := cl.Associations(ctx, name)
	if err != nil {
		err = translate("ask for associations", err)
	}
	var accounts, qos []string
	for _, a := range all {
		accounts = append(accounts, a.Account)
		if s.cfg.SlurmAccount == "" || a.Account == s.cfg.SlurmAccount {
			qos = append(qos, a.QOS...)
		}
	}
	var out []Finding
	if s.cfg.SlurmAccount != "" {
		out = append(out, exists("slurm_charge "+name, "account", s.cfg.SlurmAccount, accounts, err))
	}
	if s.cfg.QOS != "" {
		out = append(out, exists("slurm_qos "+name, "qos", s.cfg.QOS, qos, err))
	}
	return out
}

func exists(name, key, value string, have []string, err error) Finding {
	f := Finding{Name: name, Found: value, OK: err == nil && slices.Contains(have, value)}
	if err != nil {
		f.Found, f.Help = say(err), "the site operator looks whether Slurm answers"
		return f
	}
	if f.OK {
		return f
	}
	slices.Sort(have)
	what := strings.Join(slices.Compact(have), ", ")
	if what == "" {
		what = "none"
	}
	f.Found = fmt.Sprintf("%s is not there; there are: %s", value, what)
	f.Help = "the site operator corrects " + key + " in the site's section, or makes it in Slurm"
	return f
}
