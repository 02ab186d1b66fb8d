package app

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// AgentConfig says how the agent of a remote site runs. The file, the trust
// folder and the keys are the site's own; nothing in them comes from the broker
// but what its operator pinned.
type AgentConfig struct {
	// Dir is the site's folder, which the nodes see too.
	Dir string `yaml:"dir"`
	// State is the agent's own folder: keys, nonces and alerts.
	State string `yaml:"state"`
	// Trust is the folder with authorities.json and broker.json.
	Trust string `yaml:"trust"`
	// CA are the roots, PEM, that the broker's certificate must hang on; empty
	// takes the system's.
	CA string `yaml:"ca"`
	// Proxy is an HTTP CONNECT proxy, "none", or empty for what HTTPS_PROXY says.
	Proxy string `yaml:"proxy"`
	// Isolation is how nodes shut a workload in: userns or none.
	Isolation broker.Isolation `yaml:"isolation"`
	// StatusMaxAge is how old a permit's status may be when a job starts.
	StatusMaxAge time.Duration `yaml:"status_max_age"`
	// KeyEpochMin refuses orders of older key epochs.
	KeyEpochMin int `yaml:"key_epoch_min"`
	// Accounts maps each person to an account of their own.
	Accounts map[broker.PersonID]string `yaml:"accounts"`
	// MinUID is the lowest number of a person's account.
	MinUID int `yaml:"min_uid"`
	// Rules are the site's own, evaluated on each order; none when empty.
	Rules RulesConfig `yaml:"rules,omitempty"`
	// Datasets is the site's registry.
	Datasets []AgentDataset `yaml:"datasets"`
	// Scheduler is local, slurm or nomad.
	Scheduler  string        `yaml:"scheduler"`
	MaxNodes   int           `yaml:"max_nodes"` // of the scheduler local: jobs at once
	KillMargin time.Duration `yaml:"kill_margin"`
	Poll       time.Duration `yaml:"poll"`
	Exec       string        `yaml:"exec"` // valico-exec as the nodes see it
	// Keep bounds what the site keeps of what has ended.
	Keep  KeepConfig   `yaml:"keep"`
	Slurm *SlurmConfig `yaml:"slurm,omitempty"`
	Nomad *NomadConfig `yaml:"nomad,omitempty"`

	Log *slog.Logger `yaml:"-"`
	// Step is told the name of each point between two writes; the kill tests
	// set it. Nil does nothing.
	Step func(name string) `yaml:"-"`
}

// AgentDataset is an entry of a site's registry.
type AgentDataset struct {
	PURI      string        `yaml:"puri"`
	Version   string        `yaml:"version"`
	Path      string        `yaml:"path"`
	Digest    broker.Digest `yaml:"digest"`
	Holder    string        `yaml:"holder"`
	Country   string        `yaml:"country"`
	Synthetic bool          `yaml:"synthetic"`
}

// DefaultAgentConfig is what a file is read over.
func DefaultAgentConfig() AgentConfig {
	return AgentConfig{
		Isolation: broker.IsolationUserNS, StatusMaxAge: 15 * time.Minute, KeyEpochMin: 1, MinUID: 1000, MaxNodes: 1,
		KillMargin: 30 * time.Second, Poll: 500 * time.Millisecond, Keep: defaultKeep(),
	}
}

// LoadAgentConfig reads a file over the defaults. An unknown key is an error.
func LoadAgentConfig(path string) (AgentConfig, error) {
	c := DefaultAgentConfig()
	err := readConfig(path, &c)
	return c, err
}

// Validate reports every problem at once, each with its path.
func (c AgentConfig) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
	}
	for key, p := range map[string]string{"dir": c.Dir, "state": c.State, "trust": c.Trust} {
		if !filepath.IsAbs(p) {
			bad(key, "%q must be an absolute path", p)
		}
	}
	for key, p := range map[string]string{"ca": c.CA, "exec": c.Exec} {
		if p != "" && !filepath.IsAbs(p) {
			bad(key, "%q must be an absolute path", p)
		}
	}
	c.Keep.validate(bad)
	if c.Rules != (RulesConfig{}) && (!filepath.IsAbs(c.Rules.Dir) || !c.Rules.Digest.Valid()) {
		bad("rules", "dir is an absolute path and digest a sha256:…, got %q and %q", c.Rules.Dir, c.Rules.Digest)
	}
	if c.MinUID < 1 {
		bad("min_uid", "must be at least 1: root is nobody's account, got %d", c.MinUID)
	}
	if c.Poll <= 0 || c.KillMargin < 0 || c.KillMargin > 24*time.Hour {
		bad("poll, kill_margin", "must be positive and at most a day, got %s and %s", c.Poll, c.KillMargin)
	}
	c.validateScheduler(bad)
	return errors.Join(errs...)
}

func (c AgentConfig) validateScheduler(bad func(path, format string, args ...any)) {
	switch c.Scheduler {
	case schedulerLocal:
	case schedulerSlurm:
		if c.Slurm == nil {
			bad("slurm", "required: how the agent reaches slurmrestd")
		}
	case schedulerNomad:
		if c.Nomad == nil {
			bad("nomad", "required: how the agent reaches Nomad")
		}
	default:
		bad("scheduler", "%q is not local, slurm or nomad", c.Scheduler)
	}
	// The sections mean the same as in a broker's configuration.
	b := DefaultConfig()
	b.DataDir = c.Dir
	if c.Slurm != nil {
		b.Slurm = map[string]SlurmConfig{"site": *c.Slurm}
	}
	if c.Nomad != nil {
		b.Nomad = map[string]NomadConfig{"site": *c.Nomad}
	}
	if err := b.Validate(); err != nil {
		bad("scheduler", "%w", err)
	}
}
