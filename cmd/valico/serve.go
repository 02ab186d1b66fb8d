package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/cmd/valico/app"
)

type serveOptions struct {
	config, dataDir, listen, metrics, authorities, exec, logLevel string
	check                                                         bool
}

func newServeCommand(e *env) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a broker with everything embedded",
		Long: help("Serve runs a broker in one process: SQLite record, NATS server with JetStream, image store, and the agent of\n"+
			"each site that was added. It listens on loopback; put a TLS proxy before it for others. On its first start it\n"+
			"makes an operator and writes the operator's token to operator.token in the data folder.",
			"valico serve --data-dir ./broker --authorities authorities.json",
			"VALICO_TOKEN_FILE=./broker/operator.token valico site list",
			"valico serve --config valico.yaml --check-config"),
		Args: args(),
		RunE: func(c *cobra.Command, _ []string) error { return runServe(c.Context(), e, o) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "YAML file with the configuration")
	f.StringVar(&o.dataDir, "data-dir", "", "folder of the broker's record (VALICO_DATA_DIR)")
	f.StringVar(&o.listen, "listen", "", "loopback address to listen on (VALICO_LISTEN; 127.0.0.1:8420)")
	f.StringVar(&o.metrics, "metrics-listen", "", "loopback address on which Prometheus may scrape /metrics without a token (VALICO_METRICS_LISTEN; none)")
	f.StringVar(&o.authorities, "authorities", "", "file that pins permit issuers, status keys and officers (VALICO_AUTHORITIES)")
	f.StringVar(&o.exec, "exec", "", "valico-exec for local sites (VALICO_EXEC; beside valico, then on PATH)")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&o.check, "check-config", false, "print the configuration in force and end")
	return c
}

// loadConfig takes a flag before the environment, that before the file, and
// that before the default.
func (o serveOptions) loadConfig(e *env) (app.Config, error) {
	c := app.DefaultConfig()
	if o.config != "" {
		var err error
		if c, err = app.LoadConfig(o.config); err != nil {
			return c, invalid("config_invalid", err.Error(), "each key is known and well formed", o.config, "correct the file")
		}
	}
	for _, s := range []struct {
		to             *string
		flag, variable string
	}{
		{&c.DataDir, o.dataDir, "VALICO_DATA_DIR"},
		{&c.Listen, o.listen, "VALICO_LISTEN"},
		{&c.MetricsListen, o.metrics, "VALICO_METRICS_LISTEN"},
		{&c.Authorities, o.authorities, "VALICO_AUTHORITIES"},
		{&c.Exec, o.exec, "VALICO_EXEC"},
	} {
		if v := e.Getenv(s.variable); v != "" {
			*s.to = v
		}
		if s.flag != "" {
			*s.to = s.flag
		}
	}
	if c.DataDir == "" {
		if home := e.Getenv("HOME"); filepath.IsAbs(home) {
			c.DataDir = filepath.Join(home, ".local", "share", "valico")
		}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return c, invalid("usage", "unknown log level", "--log-level is debug, info, warn or error", o.logLevel, "choose one of them")
	}
	c.Log = slog.New(slog.NewJSONHandler(e.Stderr, &slog.HandlerOptions{Level: level}))
	c.Step = killpoint(e.Getenv)
	return c, nil
}

// collectorPercent lets the heap grow to five times what is in use before it is
// collected. Little is in use and much passes through: with Go's default of 100,
// collecting cost a broker under load a sixth of its processor time.
const collectorPercent = 400

func runServe(ctx context.Context, e *env, o serveOptions) error {
	c, err := o.loadConfig(e)
	if err != nil {
		return err
	}
	if o.check {
		if err := c.Validate(); err != nil {
			return invalid("config_invalid", "the configuration is not valid", err.Error(), o.config, "correct what is named")
		}
		return yaml.NewEncoder(e.Stdout).Encode(c)
	}
	if e.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
	a, err := app.Open(ctx, c, broker.Build())
	if err != nil {
		return err
	}
	c.Log.InfoContext(ctx, "broker started", "url", a.URL(), "data_dir", c.DataDir)
	fmt.Fprintf(e.Stdout, "serving %s\noperator's token: %s\n", a.URL(), a.OperatorTokenFile())
	if u := a.MetricsURL(); u != "" {
		fmt.Fprintf(e.Stdout, "metrics: %s\n", u)
	}
	err = a.Run(ctx)
	if cerr := a.Close(); err == nil && cerr != nil {
		err = &broker.Error{Kind: broker.KindInternal, Code: "close", Message: "the record was not closed cleanly", Err: cerr}
	}
	c.Log.InfoContext(context.WithoutCancel(ctx), "broker stopped", "at", time.Now().UTC())
	return err
}
