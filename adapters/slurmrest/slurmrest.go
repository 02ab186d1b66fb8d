package slurmrest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

var _ agent.Scheduler = (*Scheduler)(nil)

// Config are a Scheduler's settings; zero values take the defaults named.
type Config struct {
	// Dir is where the sockets lie, such as SITE/slurmrest; required, absolute,
	// and short: a socket's path has no more than 107 bytes.
	Dir string
	// Accounts are the operating-system accounts that jobs may run as; required.
	Accounts []string
	// Prefix is put before every command of the cluster, for example to enter
	// the mount namespace of a lab; none.
	Prefix []string
	// Slurmrestd is the program, "slurmrestd"; Path is its PATH.
	Slurmrestd, Path string
	// URL is a slurmrestd that the site runs itself, with Tokens; "" starts one
	// under each account's uid, without any token.
	URL    string
	Tokens Tokens
	// SlurmConf is Slurm's configuration file; "" leaves that to Slurm.
	SlurmConf string
	// APIVersion pins one of slurm.Versions; "" takes the newest that slurmrestd
	// serves and this adapter speaks.
	APIVersion string
	// Partition, QOS, SlurmAccount, Reservation and Constraint are the same for
	// every job; "" takes the site's defaults.
	Partition, QOS, SlurmAccount string
	Reservation, Constraint      string
	// Partitions are those of jobs with a type of GPU; a type that is missing
	// goes to Partition.
	Partitions map[string]string
	// KillMargin is added to a launch's walltime, so that valico-exec ends the
	// workload before Slurm ends both; 30 s.
	KillMargin time.Duration
	// Settle is how long a request whose answer was lost may still be on its
	// way; 20 s, twice Slurm's default MessageTimeout.
	Settle time.Duration
	// Horizon is how far back the accounting database is searched; 30 days.
	Horizon time.Duration
	// PendingEvery is how often the reason of a pending job is asked for again
	// while its state stays the same; 30 s.
	PendingEvery time.Duration
	// MinUID is the lowest uid of an account of a person; 1000.
	MinUID int
	// Lookup finds an account's numbers; the operating system's.
	Lookup func(name string) (Identity, error)
	Now    func() time.Time // time.Now
	Log    *slog.Logger     // discards
	// Step is told the name of each point between two effects and may fail
	// there, as a lost answer does; tests set it. Nil does nothing.
	Step func(name string) error
}

// partition is where jobs with a type of GPU go.
func (c Config) partition(gpu string) string {
	if p := c.Partitions[gpu]; p != "" {
		return p
	}
	return c.Partition
}

func (c Config) withDefaults() Config {
	if c.Slurmrestd == "" {
		c.Slurmrestd = "slurmrestd"
	}
	if c.Path == "" {
		c.Path = "/usr/sbin:/usr/bin:/sbin:/bin"
	}
	if c.KillMargin <= 0 {
		c.KillMargin = 30 * time.Second
	}
	if c.Settle <= 0 {
		c.Settle = 20 * time.Second
	}
	if c.Horizon <= 0 {
		c.Horizon = 30 * 24 * time.Hour
	}
	if c.PendingEvery <= 0 {
		c.PendingEvery = 30 * time.Second
	}
	if c.MinUID < 1000 {
		c.MinUID = 1000
	}
	if c.Lookup == nil {
		c.Lookup = lookup
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Step == nil {
		c.Step = func(string) error { return nil }
	}
	return c
}

// Scheduler runs launches on one cluster. It is safe for concurrent use.
type Scheduler struct {
	cfg Config

	mu       sync.Mutex
	closed   bool
	accounts map[string]*account
}

// New checks the settings. It starts no slurmrestd: each account's comes with
// its first use.
func New(c Config) (*Scheduler, error) {
	c = c.withDefaults()
	switch {
	case !filepath.IsAbs(c.Dir):
		return nil, errors.New("slurmrest: the scheduler needs an absolute folder")
	case len(c.Accounts) == 0:
		return nil, errors.New("slurmrest: no account is mapped")
	case c.APIVersion != "" && !slices.Contains(slurm.Versions(), c.APIVersion):
		return nil, fmt.Errorf("slurmrest: API version %q is not spoken, only %s", c.APIVersion, strings.Join(slurm.Versions(), ", "))
	case len(socketPath(c.Dir, 1<<31)) > 107:
		return nil, fmt.Errorf("slurmrest: %s is too long for a socket", c.Dir)
	}
	if (c.URL == "") != (c.Tokens == nil) {
		return nil, errors.New("slurmrest: a slurmrestd of the site's own and a source of tokens go together")
	}
	if c.URL != "" {
		if err := checkURL(c.URL); err != nil {
			return nil, err
		}
	}
	for _, name := range c.Accounts {
		if _, err := identify(c, name); err != nil {
			return nil, fmt.Errorf("slurmrest: account %q: %w", name, err)
		}
	}
	// Accounts pass through the folder to their own and cannot list it.
	if err := os.MkdirAll(c.Dir, 0o711); err != nil { //nolint:gosec // passed through, not listed
		return nil, fmt.Errorf("slurmrest: %w", err)
	}
	if os.Geteuid() == 0 { // it makes folders there and gives them away
		if err := agent.CheckPlace(c.Dir); err != nil {
			return nil, fmt.Errorf("slurmrest: %w", err)
		}
	}
	return &Scheduler{cfg: c, accounts: map[string]*account{}}, nil
}

// Close ends every slurmrestd that was started and leaves all jobs alone.
func (s *Scheduler) Close() error {
	s.mu.Lock()
	s.closed = true
	all := s.accounts
	s.accounts = nil
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, a := range all {
		wg.Go(a.daemon.close)
	}
	wg.Wait()
	return nil
}

// Requests returns how many requests were sent to any slurmrestd.
func (s *Scheduler) Requests() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, a := range s.accounts {
		n += a.daemon.rest.Requests()
	}
	return n
}

// Unknowns returns how often Slurm used a word for a state that is not known
// here.
func (s *Scheduler) Unknowns() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, a := range s.accounts {
		n += a.unknowns.Load()
	}
	return n
}

// account returns the state of a mapped account, which begins with its
// slurmrestd.
func (s *Scheduler) account(ctx context.Context, name string) (*account, error) {
	if !slices.Contains(s.cfg.Accounts, name) {
		return nil, refused("account_not_mapped", name, "jobs run under the accounts that the site maps, and no others")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, unavailable("the scheduler is closed", nil)
	}
	if a, ok := s.accounts[name]; ok {
		return a, nil
	}
	who, err := identify(s.cfg, name) // again: an account may have changed
	if err != nil {
		return nil, err
	}
	d, err := s.daemon(ctx, name, who)
	if err != nil {
		return nil, err
	}
	a := &account{cfg: s.cfg, name: name, uid: who.UID, daemon: d, names: map[key]*job{}}
	s.accounts[name] = a
	return a, nil
}

func (s *Scheduler) daemon(ctx context.Context, name string, who Identity) (*daemon, error) {
	if s.cfg.URL != "" {
		return foreign(ctx, s.cfg, name, who)
	}
	return newDaemon(ctx, s.cfg, who)
}

// Find returns how a launch stands.
func (s *Scheduler) Find(ctx context.Context, l broker.Launch) (agent.Status, error) {
	a, err := s.account(ctx, l.Account)
	if err != nil {
		return agent.Status{}, err
	}
	j, err := a.find(ctx, keyOf(l))
	if err != nil {
		return agent.Status{}, err
	}
	if j == nil {
		return agent.Status{}, broker.NotFound("launch", l.Name)
	}
	return a.detail(ctx, j)
}

// Cancel ends a launch: TERM, then KILL after the site's KillWait.
func (s *Scheduler) Cancel(ctx context.Context, l broker.Launch) error {
	a, err := s.account(ctx, l.Account)
	if err != nil {
		return err
	}
	j, err := a.find(ctx, keyOf(l))
	if err != nil || j == nil {
		return err
	}
	a.mu.Lock()
	j.told = true
	a.mu.Unlock()
	return a.cancel(ctx, j.id)
}

// Usage returns what an ended launch consumed over all its incarnations.
func (s *Scheduler) Usage(ctx context.Context, l broker.Launch) (broker.Usage, error) {
	a, err := s.account(ctx, l.Account)
	if err != nil {
		return broker.Usage{}, err
	}
	j, err := a.find(ctx, keyOf(l))
	if err != nil {
		return broker.Usage{}, err
	}
	if j == nil {
		return broker.Usage{}, broker.NotFound("launch", l.Name)
	}
	c, err := a.daemon.client(ctx)
	if err != nil {
		return broker.Usage{}, err
	}
	rs, err := c.DBJob(ctx, j.id)
	if err != nil {
		return broker.Usage{}, translate("read usage", err)
	}
	rs = slices.DeleteFunc(rs, func(r slurm.DBJob) bool { return r.Name != j.key.name || r.User != a.name })
	return usage(rs)
}

// usage adds up all incarnations of a job. A database that has not heard of the
// end yet is not believed.
func usage(rs []slurm.DBJob) (broker.Usage, error) {
	u := broker.Usage{Method: "slurmdb"}
	for i, r := range rs {
		if i == len(rs)-1 && base(r.States) != slurm.RoleFinal {
			break
		}
		secs := int64(r.Elapsed / time.Second)
		u.GPUSeconds += secs * r.Allocated.GPUs("")
		u.CPUSeconds += secs * r.Allocated["cpu"]
		u.Elapsed += r.Elapsed
		if i == len(rs)-1 {
			return u, nil
		}
	}
	return broker.Usage{}, unavailable("the accounting database has not recorded the end of the job yet", nil)
}
