package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker"
)

type connectOptions struct {
	broker, ssh, remote, config string
	sshArgs                     []string
}

func newConnectCommand(e *env) *cobra.Command {
	var o connectOptions
	c := &cobra.Command{
		Use: "connect HOST", Short: "Run a site's agent over your own SSH session", Args: args("HOST"),
		Long: help("Connect is for a site where nothing of Valico may run for good and nodes reach no network: it starts the agent in\n"+
			"your own SSH session on HOST, as you, and carries its connections to the broker, and to nothing else. What passes\n"+
			"is TLS between agent and broker. Such a site is advisory: it runs your own jobs, under your own account. When the\n"+
			"session ends the agent ends; jobs run on, and the next session takes them up.",
			"valico connect login.leo.example --broker https://broker.example"),
		RunE: func(c *cobra.Command, a []string) error { return runConnect(c.Context(), a[0], o, e) },
	}
	f := c.Flags()
	f.StringVar(&o.broker, "broker", "", "https://host[:port] where agents connect; the only place that may be reached")
	f.StringVar(&o.ssh, "ssh", "ssh", "the SSH program")
	f.StringArrayVar(&o.sshArgs, "ssh-arg", nil, "an argument for it; may be repeated")
	f.StringVar(&o.remote, "remote", "valico", "valico at the site")
	f.StringVar(&o.config, "config", ".config/valico/agent.yaml", "the agent's configuration at the site")
	_ = c.MarkFlagRequired("broker") // it exists
	return c
}

func runConnect(ctx context.Context, host string, o connectOptions, e *env) error {
	u, err := url.Parse(o.broker)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" || u.User != nil {
		return invalid("usage", "the broker's address is not understood", "--broker is https://host[:port]", o.broker, "ask the broker's operator for it")
	}
	if host == "" || host[0] == '-' {
		return invalid("usage", "the host is not understood", "HOST is a name that your SSH program knows", host, "name a login node")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	dial, err := link.Via("", e.Getenv, nil)
	if err != nil {
		return err
	}
	argv := append(append([]string{}, o.sshArgs...), "-T", host, o.remote, "agent", "--stdio", "--config", quote(o.config))
	cmd := exec.CommandContext(ctx, o.ssh, argv...) //nolint:gosec // the person's own SSH program
	cmd.Stderr = e.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return &broker.Error{
			Kind: broker.KindUnavailable, Code: "ssh_missing", Message: "the SSH program cannot be started", Value: o.ssh,
			Help: "install it, or name it with --ssh", Who: "you", Err: err,
		}
	}
	fmt.Fprintf(e.Stderr, "connected through %s; interrupt to end, jobs run on\n", host)
	served := link.ServeTunnel(ctx, pipe{out, in}, []string{net.JoinHostPort(u.Hostname(), port)}, dial,
		slog.New(slog.NewTextHandler(e.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	_ = in.Close() // the agent ends when its input does
	err = cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &broker.Error{
			Kind: broker.KindUnavailable, Code: "ssh_ended", Message: "the SSH session ended", Value: host, Rule: "the session carries the agent",
			Help: "see what it said above, and connect again", Who: "you, or the site operator", Err: errors.Join(err, served),
		}
	}
	return nil
}

// pipe is a child's output and input.
type pipe struct {
	io.Reader
	io.WriteCloser
}

// quote keeps the far shell from reading a path as more than one word.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
