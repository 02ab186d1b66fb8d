package app

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/images/disk"
)

// AgentProcess is the agent of a remote site in a process of its own: package
// agent with its scheduler, the link and the way to the broker's images. It
// listens nowhere.
type AgentProcess struct {
	cfg       AgentConfig
	record    wire.BrokerRecord
	key       crypto.Signer
	rules     *siteRules // nil when the site has none
	agent     *agent.Agent
	responder *link.Responder
	closes    []func() error
	began     time.Time
}

// OpenAgent opens every part, or gives back what it opened. dial is the way out;
// nil goes by the configuration's proxy.
func OpenAgent(ctx context.Context, c AgentConfig, dial link.DialFunc) (p *AgentProcess, err error) {
	if err := c.Validate(); err != nil {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "config_invalid", Message: "the configuration is not valid", Value: err.Error(),
			Rule: "each key within its bounds", Help: "see: valico agent --help", Who: "the site operator",
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p = &AgentProcess{cfg: c, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
			p = nil
		}
	}()
	if err := p.pin(); err != nil {
		return p, err
	}
	if p.rules, err = c.Rules.loadRules(ctx); err != nil {
		return p, err
	}
	roots, err := c.roots()
	if err != nil {
		return p, err
	}
	if dial == nil {
		if dial, err = link.Via(c.Proxy, os.Getenv, roots); err != nil {
			return p, err
		}
	}
	nc, err := p.dial(ctx, dial, roots)
	if err != nil {
		return p, err
	}
	if err := p.openAgent(ctx, nc, dial, roots); err != nil {
		return p, err
	}
	return p, p.openResponder(nc)
}

// pin reads what the site trusts, checks persons and datasets, and writes the
// trust file that agent and nodes read.
func (p *AgentProcess) pin() (err error) {
	if p.record, err = p.cfg.LoadBrokerRecord(); err != nil {
		return err
	}
	if err := p.cfg.checkPersons(); err != nil {
		return err
	}
	if err := p.cfg.checkDatasets(); err != nil {
		return err
	}
	t, err := p.cfg.trustOf(p.record)
	if err != nil {
		return err
	}
	b, err := order.EncodeTrust(t)
	if err != nil {
		return fmt.Errorf("pin the site's trust: %w", err)
	}
	if err := os.MkdirAll(p.cfg.Dir, 0o711); err != nil { //nolint:gosec // accounts of the site enter it
		return fmt.Errorf("make the site's folder: %w", err)
	}
	if err := writeNew(p.trustPath(), b, 0o600); err != nil { // it names persons and datasets
		return err
	}
	for _, name := range []string{agentKeyFile, signInFile} {
		if _, err := os.Stat(filepath.Join(p.cfg.State, name)); err != nil {
			return &broker.Error{
				Kind: broker.KindInvalid, Code: "agent_keys_missing", Message: "the agent has no keys", Value: filepath.Join(p.cfg.State, name),
				Rule: "an agent speaks with the keys that it was enrolled with", Help: "valico agent init", Who: "the site operator", Err: err,
			}
		}
	}
	p.key, err = openSigner(filepath.Join(p.cfg.State, agentKeyFile))
	return err
}

func (p *AgentProcess) trustPath() string { return filepath.Join(p.cfg.Dir, "trust.json") }

// roots are what certificates must hang on; nil for the system's.
func (c AgentConfig) roots() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA == "" {
		return t, nil
	}
	b, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read the pinned roots: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(b) {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "ca_invalid", Message: "the pinned roots are no certificates", Value: c.CA,
			Rule: "ca is a file of certificates in PEM", Help: "correct the file", Who: "the site operator",
		}
	}
	return t, nil
}

func (p *AgentProcess) dial(ctx context.Context, dial link.DialFunc, roots *tls.Config) (*nats.Conn, error) {
	seed, err := os.ReadFile(filepath.Join(p.cfg.State, signInFile))
	if err != nil {
		return nil, fmt.Errorf("read the sign-in key: %w", err)
	}
	nc, err := link.Dial(context.WithoutCancel(ctx), link.DialConfig{
		Site: broker.SiteID(p.record.Site), URL: "wss" + strings.TrimPrefix(p.record.URL, "https"), CA: roots.RootCAs,
		Seed: seed, Dial: dial, Log: p.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	p.closes = append(p.closes, func() error { nc.Close(); return nil })
	return nc, nil
}

func (p *AgentProcess) openAgent(ctx context.Context, nc *nats.Conn, dial link.DialFunc, roots *tls.Config) error {
	site := broker.Site{
		ID: broker.SiteID(p.record.Site), Name: p.record.Name, Scheduler: p.cfg.Scheduler, MaxNodes: p.cfg.MaxNodes,
		KillMargin: p.cfg.KillMargin, Accounts: p.cfg.Accounts,
	}
	b := Config{Exec: p.cfg.Exec, Log: p.cfg.Log, Step: p.cfg.Step}
	if p.cfg.Slurm != nil {
		b.Slurm = map[string]SlurmConfig{site.Name: *p.cfg.Slurm}
	}
	if p.cfg.Nomad != nil {
		b.Nomad = map[string]NomadConfig{site.Name: *p.cfg.Nomad}
	}
	unknown := func(broker.SiteID) {
		p.cfg.Log.WarnContext(context.WithoutCancel(ctx), "the scheduler has a state that nobody knows")
	}
	sched, execPath, closer, err := schedulers{cfg: b, unknown: unknown}.scheduler(ctx, site, p.cfg.Dir)
	if err != nil {
		return err
	}
	p.closes = append(p.closes, closer)
	pub, err := telemetry.NewPublisher(nc)
	if err != nil {
		return err
	}
	c := agent.Config{
		Site: site.ID, Dir: p.cfg.Dir, ExecPath: execPath, Scheduler: sched, Publisher: pub, PollEvery: p.cfg.Poll,
		KillMargin: p.cfg.KillMargin, Log: p.cfg.Log, Step: p.cfg.Step, Accounts: p.cfg.identities().Account,
		Blobs: pulled{site: site.ID, url: p.record.URL, key: p.key, now: time.Now, client: &http.Client{
			Transport: &http.Transport{
				DialContext: dial, TLSClientConfig: roots, TLSHandshakeTimeout: 20 * time.Second,
				ResponseHeaderTimeout: time.Minute, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}},
	}
	p.cfg.Keep.bound(&c)
	if p.rules != nil {
		c.Rules = p.rules
	}
	p.agent, err = agent.New(c)
	if err == nil {
		p.closes = append(p.closes, p.agent.Close)
	}
	return err
}

func (p *AgentProcess) openResponder(nc *nats.Conn) (err error) {
	p.responder, err = link.NewResponder(link.ResponderConfig{
		Site: broker.SiteID(p.record.Site), Conn: nc, Agent: p.agent, Describe: p.describe, Key: p.key,
		Trust: func() (order.Trust, error) { return order.LoadTrust(p.trustPath()) },
		Dir:   filepath.Join(p.cfg.State, "link"), Log: p.cfg.Log,
	})
	return err
}

// describe says how the agent is.
func (p *AgentProcess) describe(context.Context) (broker.SiteAgent, error) {
	b, err := os.ReadFile(p.trustPath())
	if err != nil {
		return broker.SiteAgent{}, fmt.Errorf("read the site's trust: %w", err)
	}
	attempts, ok := p.agent.Busy()
	d := broker.SiteAgent{
		Version: broker.Build(), StartedAt: p.began.UTC().Truncate(time.Microsecond), Trust: broker.DigestOf(b),
		Scheduler: p.cfg.Scheduler, SchedulerOK: ok, Attempts: attempts,
	}
	if p.rules != nil {
		d.Packs = p.cfg.Rules.Digest
	}
	if d.DiskFree, err = disk.Free(p.cfg.Dir); err != nil {
		return d, err
	}
	d.DiskUsed, err = p.agent.ImageBytes()
	d.DiskBound = p.cfg.Keep.ImageBytes
	return d, err
}

// Run answers the broker and looks after the site's work until ctx ends. What
// runs at the scheduler runs on.
func (p *AgentProcess) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{p.agent.Run, p.responder.Run} {
		g.Go(func() error {
			if err := run(ctx); ctx.Err() == nil {
				return err
			}
			return nil // it was told to end
		})
	}
	return g.Wait()
}

// Close gives every part back, the last opened first.
func (p *AgentProcess) Close() error {
	var errs []error
	for _, f := range slices.Backward(p.closes) {
		errs = append(errs, f())
	}
	p.closes = nil
	return errors.Join(errs...)
}

// Site is the site that the agent speaks for, and where its broker is.
func (p *AgentProcess) Site() (name, url string) { return p.record.Name, p.record.URL }
