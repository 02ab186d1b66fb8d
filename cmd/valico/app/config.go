package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config says how a broker runs. It is read from one YAML file; flags and
// VALICO_* variables may override its top level.
type Config struct {
	// DataDir holds everything that the broker keeps: record, keys, images and
	// the folders of sites whose agent runs in this process.
	DataDir string `yaml:"data_dir"`
	// Listen is a TCP address; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// MetricsListen is a TCP address of loopback on which Prometheus may scrape
	// /metrics without a token; empty serves none.
	MetricsListen string `yaml:"metrics_listen"`
	// Authorities is a file that pins permit issuers, status keys and officers.
	Authorities string `yaml:"authorities"`
	// Exec is the valico-exec that local sites run; empty looks beside this
	// program, then on PATH.
	Exec string `yaml:"exec"`
	// StatusMaxAge is how old a permit's status may be when a job starts, and
	// therefore how long an order may wait in a site's queue: a day at most.
	StatusMaxAge time.Duration `yaml:"status_max_age"`
	// Poll is how often dispatch and agents look at running work.
	Poll time.Duration `yaml:"poll"`
	// Keep bounds what each site whose agent runs in this process keeps of what
	// has ended.
	Keep KeepConfig `yaml:"keep"`
	// Agents says where the agents of remote sites connect.
	Agents AgentsConfig `yaml:"agents,omitempty"`
	// Slurm says how the agent of each Slurm site reaches its scheduler.
	Slurm map[string]SlurmConfig `yaml:"slurm"`
	// Nomad says how the agent of each Nomad site reaches its scheduler.
	Nomad map[string]NomadConfig `yaml:"nomad"`

	Log *slog.Logger `yaml:"-"`
	// Step is told the name of each point between two writes; the kill tests
	// set it. Nil does nothing.
	Step func(name string) `yaml:"-"`
}

// SlurmConfig is how one in-process agent reaches slurmrestd: it starts one per
// mapped person, under that person's uid, on a socket in a folder of their own.
type SlurmConfig struct {
	Slurmrestd string   `yaml:"slurmrestd"` // program; "slurmrestd"
	Conf       string   `yaml:"slurm_conf"` // SLURM_CONF
	Prefix     []string `yaml:"prefix"`     // a command put before slurmrestd, for example to enter a namespace
	Run        string   `yaml:"run"`        // folder for the sockets
	SiteDir    string   `yaml:"site_dir"`   // shared with the nodes; below data_dir when empty
	Partition  string   `yaml:"partition"`
	Account    string   `yaml:"account"`
	QoS        string   `yaml:"qos"`
	Exec       string   `yaml:"exec"` // valico-exec as the nodes see it

	URL          string   `yaml:"url,omitempty"`           // of a slurmrestd that the site runs itself; with one of:
	TokenCommand []string `yaml:"token_command,omitempty"` // prints a token for the account behind it
	TokenDir     string   `yaml:"token_dir,omitempty"`     // tokens that persons bring, one file per account

	Partitions  map[string]string `yaml:"partitions"`  // GPU type to its partition; others go to Partition
	Reservation string            `yaml:"reservation"` // of every job
	Constraint  string            `yaml:"constraint"`  // node features that every job needs, such as nvlink&rack1
	APIVersion  string            `yaml:"api_version"` // of slurmrestd; empty takes the newest that both know
}

// NomadConfig is how one in-process agent reaches a Nomad server.
type NomadConfig struct {
	Address     string            `yaml:"address"` // of the HTTP API; https, or loopback
	CACert      string            `yaml:"ca_cert"`
	Cert        string            `yaml:"cert"` // of this agent, with Key
	Key         string            `yaml:"key"`
	ServerName  string            `yaml:"server_name"`
	TokenFile   string            `yaml:"token_file"` // read for each request, so it can be renewed
	Namespace   string            `yaml:"namespace"`  // of this site's jobs alone
	Namespaces  map[string]string `yaml:"namespaces"` // instead: each account's, one for each tenant; a name says nothing
	Region      string            `yaml:"region"`
	NodePool    string            `yaml:"node_pool"`
	Datacenters []string          `yaml:"datacenters"`
	Priority    int               `yaml:"priority"`
	Driver      string            `yaml:"driver"`      // "raw_exec"
	Devices     map[string]string `yaml:"devices"`     // GPU type to Nomad's device name
	MHzPerCPU   int               `yaml:"mhz_per_cpu"` // what one core is in Nomad's measure
	SiteDir     string            `yaml:"site_dir"`    // shared with the nodes; below data_dir when empty
	Exec        string            `yaml:"exec"`        // valico-exec as the nodes see it
}

// DefaultConfig is what a broker without a file runs with.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:8420", StatusMaxAge: 15 * time.Minute, Poll: 500 * time.Millisecond, Keep: defaultKeep(),
	}
}

// LoadConfig reads a file over the defaults. An unknown key is an error.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	err := readConfig(path, &c)
	return c, err
}

// readConfig reads an operator's file over what c holds.
func readConfig(path string, c any) error {
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own file
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// Validate reports every problem at once, each with its path.
func (c Config) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
	}
	if c.DataDir == "" {
		bad("data_dir", "required: the folder that holds the broker's record")
	}
	loopback := func(path, address, why string) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			bad(path, "%q is no host:port", address)
		} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			bad(path, "%q: %s", address, why)
		}
	}
	loopback("listen", c.Listen, "tokens travel in clear text, so listen on loopback and put a TLS proxy before it")
	if c.MetricsListen != "" {
		loopback("metrics_listen", c.MetricsListen, "figures are served without a token, so listen on loopback")
	}
	if c.StatusMaxAge <= 0 {
		bad("status_max_age", "must be positive, got %s", c.StatusMaxAge)
	}
	if c.Poll <= 0 {
		bad("poll", "must be positive, got %s", c.Poll)
	}
	c.Keep.validate(bad)
	c.Agents.validate(bad)
	for name, s := range c.Slurm {
		if s.Conf == "" {
			bad("slurm."+name+".slurm_conf", "required: the path of slurm.conf")
		}
		s.validate(func(key, format string, args ...any) { bad("slurm."+name+"."+key, format, args...) })
		for key, p := range map[string]string{"slurm_conf": s.Conf, "run": s.Run, "site_dir": s.SiteDir, "exec": s.Exec} {
			if p != "" && !filepath.IsAbs(p) {
				bad("slurm."+name+"."+key, "%q must be an absolute path", p)
			}
		}
	}
	for name, n := range c.Nomad {
		if n.Address == "" {
			bad("nomad."+name+".address", "required: the URL of a Nomad server")
		}
		if n.Namespace != "" && len(n.Namespaces) > 0 {
			bad("nomad."+name+".namespaces", "a site has one namespace, or one for each account, not both")
		}
		if _, ok := c.Slurm[name]; ok {
			bad("nomad."+name, "the site is configured under slurm too")
		}
		for key, p := range map[string]string{
			"ca_cert": n.CACert, "cert": n.Cert, "key": n.Key, "token_file": n.TokenFile, "site_dir": n.SiteDir, "exec": n.Exec,
		} {
			if p != "" && !filepath.IsAbs(p) {
				bad("nomad."+name+"."+key, "%q must be an absolute path", p)
			}
		}
	}
	return errors.Join(errs...)
}
