package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/cmd/valico/app"
)

type agentOptions struct {
	config, logLevel string
	stdio, check     bool
}

func newAgentCommand(e *env) *cobra.Command {
	var o agentOptions
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of a site that only calls out",
		Long: help("Agent runs at a site: it obeys work orders that the site's own pinned keys verify, and is the only thing there\n"+
			"that talks to the scheduler. It listens nowhere; it connects to its broker, TCP 443 in practice, through a CONNECT\n"+
			"proxy where HTTPS_PROXY or the configuration names one. Stopping it stops no job. With --stdio it reaches the\n"+
			"broker through its own standard input and output, for valico connect.",
			"valico agent init --name leo --dir /etc/valico --site-dir /srv/valico",
			"valico agent pin broker.json --config /etc/valico/agent.yaml",
			"valico agent --config /etc/valico/agent.yaml"),
		Args: args(),
		RunE: func(c *cobra.Command, _ []string) error { return runAgent(c.Context(), e, o) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "/etc/valico/agent.yaml", "YAML file with the agent's configuration")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&o.stdio, "stdio", false, "reach the broker through standard input and output")
	f.BoolVar(&o.check, "check-config", false, "check configuration, pinned keys, persons and datasets, and end")
	c.AddCommand(newAgentInitCommand(e), newAgentPinCommand(e))
	return c
}

func loadAgentConfig(path string) (app.AgentConfig, error) {
	c, err := app.LoadAgentConfig(path)
	if err != nil {
		return c, invalid("config_invalid", err.Error(), "each key is known and well formed", path, "correct the file, or make one: valico agent init")
	}
	return c, nil
}

func runAgent(ctx context.Context, e *env, o agentOptions) error {
	c, err := loadAgentConfig(o.config)
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return invalid("usage", "unknown log level", "--log-level is debug, info, warn or error", o.logLevel, "choose one of them")
	}
	c.Log, c.Step = slog.New(slog.NewJSONHandler(e.Stderr, &slog.HandlerOptions{Level: level})), killpoint(e.Getenv)
	var dial link.DialFunc
	if o.stdio {
		t := link.NewTunnel(stdio{e.Stdin, e.Stdout})
		defer t.Close() //nolint:errcheck // the process ends with it
		dial = t.Dial
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-t.Ended()
			cancel()
		}()
	}
	p, err := app.OpenAgent(ctx, c, dial)
	if err != nil {
		return err
	}
	name, url := p.Site()
	if o.check {
		fmt.Fprintf(e.Stdout, "site %s, broker %s: nothing to correct\n", name, url)
		return p.Close()
	}
	c.Log.InfoContext(ctx, "agent started", "site", name, "broker", url)
	if !o.stdio {
		fmt.Fprintf(e.Stdout, "agent of site %s, broker %s\n", name, url)
	}
	err = p.Run(ctx)
	if cerr := p.Close(); err == nil && cerr != nil {
		err = &broker.Error{Kind: broker.KindInternal, Code: "close", Message: "the agent was not closed cleanly", Err: cerr}
	}
	c.Log.InfoContext(context.WithoutCancel(ctx), "agent stopped")
	return err
}

// stdio is standard input and output as one pipe.
type stdio struct {
	io.Reader
	io.Writer
}

// Close closes both ends where they can be closed.
func (s stdio) Close() error {
	for _, end := range []any{s.Reader, s.Writer} {
		if c, ok := end.(io.Closer); ok {
			_ = c.Close() // the process ends with them
		}
	}
	return nil
}
