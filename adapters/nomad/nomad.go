package nomad

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

var _ agent.Scheduler = (*Scheduler)(nil)

// Config are a Scheduler's settings; zero values take the defaults named.
type Config struct {
	// Address is the URL of a Nomad server; required. Without TLS only loopback.
	Address string
	TLS     TLS
	// TokenFile holds the agent's ACL token; it is read again for each request.
	// "" sends none.
	TokenFile string
	// Accounts are the operating-system accounts that jobs may run as; required.
	Accounts []string
	// Namespace holds this site's jobs and no others; "default". Namespaces gives
	// each account its own instead, or one to the accounts of one tenant: then
	// Namespace is empty and every account has an entry. Everybody who may read a
	// namespace knows its name, so that it names nobody.
	Namespace  string
	Namespaces map[string]string
	// Region and NodePool are the same for every job; "" takes Nomad's defaults.
	Region, NodePool string
	// Datacenters are where jobs may run; all.
	Datacenters []string
	// Priority of every job; 50.
	Priority int
	// Driver runs the launch's program as its account; "raw_exec".
	Driver string
	// Devices gives the name of Nomad's device for a GPU type, such as
	// "nvidia/gpu/NVIDIA H100 80GB HBM3". A type that is missing is asked for by
	// its model's name.
	Devices map[string]string
	// MHzPerCPU is how much of Nomad's CPU measure one core is; 1000.
	MHzPerCPU int
	// KillMargin is the time from TERM to KILL, and how long after its walltime
	// a launch is ended that did not end itself; 30 s. A Nomad client allows no
	// more than its max_kill_timeout.
	KillMargin time.Duration
	// CallTimeout bounds one request; 20 s.
	CallTimeout time.Duration
	// Relist is how long a list is believed while the event stream is silent and
	// others change what the blocking queries look at; 15 s. Without either every
	// Watch lists.
	Relist time.Duration
	// Reevaluate is how often Nomad is asked to look again at what waits for
	// GPUs: it does not notice by itself that they healed; 1 min.
	Reevaluate time.Duration
	// MinUID is the lowest uid of an account of a person; 1000.
	MinUID int
	// UID finds an account's number; the operating system's.
	UID func(account string) (int, error)
	Now func() time.Time // time.Now
	Log *slog.Logger     // discards
	// OnUnknown is told each time that Nomad used a word that is not known here.
	OnUnknown func()
	// Step is told the name of each point between two effects and may fail
	// there, as a lost answer does; tests set it. Nil does nothing.
	Step func(name string) error
}

func (c Config) withDefaults() Config {
	durations := []struct {
		d   *time.Duration
		def time.Duration
	}{{&c.KillMargin, 30 * time.Second}, {&c.CallTimeout, 20 * time.Second}, {&c.Relist, 15 * time.Second}, {&c.Reevaluate, time.Minute}}
	for _, x := range durations {
		if *x.d <= 0 {
			*x.d = x.def
		}
	}
	if c.Namespace == "" && len(c.Namespaces) == 0 {
		c.Namespace = api.DefaultNamespace
	}
	if len(c.Datacenters) == 0 {
		c.Datacenters = []string{"*"}
	}
	if c.Priority <= 0 {
		c.Priority = 50
	}
	if c.Driver == "" {
		c.Driver = "raw_exec"
	}
	if c.MHzPerCPU <= 0 {
		c.MHzPerCPU = 1000
	}
	if c.MinUID < 1000 {
		c.MinUID = 1000
	}
	if c.UID == nil {
		c.UID = uid
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnUnknown == nil {
		c.OnUnknown = func() {}
	}
	if c.Step == nil {
		c.Step = func(string) error { return nil }
	}
	return c
}

// Scheduler runs launches on one Nomad cluster. It is safe for concurrent use.
type Scheduler struct {
	cfg      Config
	client   *api.Client
	sent     atomic.Int64
	unknowns atomic.Int64
	stream   hint // the event stream of the namespaces
	allocs   hint // a blocking query on the allocations of the cluster
	evals    hint // and one on its evaluations
	stop     context.CancelFunc
	followed sync.WaitGroup
	busy     [64]sync.Mutex // by name: one submission of a launch at a time

	mu     sync.Mutex
	taken  map[key]bool         // registrations that Nomad confirmed to this process
	forced map[string]time.Time // when a waiting job was last evaluated again
	cached *world
}

// key is what a launch is known by.
type key struct {
	name, account string
	order         broker.Digest
}

func keyOf(l broker.Launch) key { return key{name: l.Name, account: l.Account, order: l.OrderDigest} }

// New checks the settings and starts to follow what changes in Nomad, which need
// not answer yet.
func New(c Config) (*Scheduler, error) {
	c = c.withDefaults()
	if len(c.Accounts) == 0 {
		return nil, errors.New("nomad: no account is mapped")
	}
	for _, a := range c.Accounts {
		if err := person(c, a); err != nil {
			return nil, fmt.Errorf("nomad: account %q: %w", a, err)
		}
	}
	if err := checkNamespaces(c); err != nil {
		return nil, err
	}
	s := &Scheduler{cfg: c, taken: map[key]bool{}, forced: map[string]time.Time{}}
	var err error
	if s.client, err = newClient(c, &s.sent); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.follow(ctx)
	return s, nil
}

// Close stops following and leaves all jobs alone.
func (s *Scheduler) Close() error {
	s.stop()
	s.followed.Wait()
	s.client.Close()
	return nil
}

// Requests returns how many requests were sent.
func (s *Scheduler) Requests() int64 { return s.sent.Load() }

// checkNamespaces refuses what would put two tenants into one namespace unseen.
func checkNamespaces(c Config) error {
	if len(c.Namespaces) > 0 && c.Namespace != "" {
		return errors.New("nomad: a site has one namespace, or one for each account, not both")
	}
	for _, a := range c.Accounts {
		if ns := c.namespaceOf(a); !agent.SafeName(ns) {
			return fmt.Errorf("nomad: account %q: %q is no namespace: letters, digits, - and _", a, ns)
		}
	}
	return nil
}

// namespaceOf is where an account's jobs lie.
func (c Config) namespaceOf(account string) string {
	if ns, ok := c.Namespaces[account]; ok {
		return ns
	}
	return c.Namespace
}

// spaces are the namespaces of the site's accounts, each once.
func (c Config) spaces() []string {
	var out []string
	for _, a := range c.Accounts {
		out = append(out, c.namespaceOf(a))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// listed is the namespace that a list asks for: of several, all that the token
// may read, so that a list is one request however many there are.
func (c Config) listed() string {
	if all := c.spaces(); len(all) == 1 {
		return all[0]
	}
	return api.AllNamespacesNamespace
}

// Unknowns returns how often Nomad used a word that is not known here.
func (s *Scheduler) Unknowns() int64 { return s.unknowns.Load() }

// mapped refuses an account that the site does not map, or that became another.
func (s *Scheduler) mapped(l broker.Launch) error {
	if !slices.Contains(s.cfg.Accounts, l.Account) {
		return refused("account_not_mapped", l.Account, "jobs run under the accounts that the site maps, and no others")
	}
	return person(s.cfg, l.Account)
}

// person refuses root, system accounts and what is no account's name.
func person(c Config, account string) error {
	if account == "" || strings.ContainsAny(account, "${}%: \t\r\n\x00") {
		return refused("account_unknown", account, "a mapped account exists at the site")
	}
	n, err := c.UID(account)
	if err != nil {
		e := refused("account_unknown", account, "a mapped account exists at the site")
		e.Err = err
		return e
	}
	if n < c.MinUID {
		return refused("account_system", account, fmt.Sprintf("jobs never run as root or a system account, whose numbers are below %d", c.MinUID))
	}
	return nil
}

func uid(account string) (int, error) {
	u, err := user.Lookup(account)
	if err != nil {
		return 0, fmt.Errorf("look up account: %w", err)
	}
	n, err := strconv.Atoi(u.Uid)
	if err != nil {
		return 0, fmt.Errorf("look up account: %w", err)
	}
	return n, nil
}

func minTLS() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }
