//go:build integration

package slurmrest_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// purse is a site's token command whose answer, and an agent's clock, are set by
// a test.
type purse struct {
	mu    sync.Mutex
	token string // "" for none
	slow  time.Duration
}

func (p *purse) set(token string, slow time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.token, p.slow = token, slow
}

func (p *purse) ask(context.Context, string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.token == "" {
		return "", errors.New("there is none")
	}
	return p.token, nil
}

func (p *purse) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(-p.slow)
}

// mint has the lab make a token of the person.
func mint(t *testing.T, seconds string) string {
	t.Helper()
	return strings.TrimPrefix(strings.TrimSpace(slurmSays(t, "scontrol", "token", "username="+person, "lifespan="+seconds)), "SLURM_JWT=")
}

// tokenDaemon is a slurmrestd of the site's own that takes tokens alone.
func tokenDaemon(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	cmd := cluster.Command(context.WithoutCancel(t.Context()), cluster.Service.Name, "env", "SLURM_JWT=daemon",
		"slurmrestd", "-a", "rest_auth/jwt", "-s", "slurmctld,slurmdbd", addr)
	cmd.Dir = "/"
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Signal(syscall.SIGTERM), cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		return err == nil && c.Close() == nil
	}, time.Minute, 20*time.Millisecond)
	return "http://" + addr
}

// expire gives the scheduler a token that Slurm has let expire. Its clock is
// slow, so that only Slurm knows.
func expire(t *testing.T) (s agent.Scheduler, expire, renew func()) {
	t.Helper()
	c, p := settings(), &purse{}
	c.URL, c.Tokens, c.Now = tokenDaemon(t), p.ask, p.now
	p.set(mint(t, "3600"), 0)
	sched := open(t, c)
	expire = func() {
		p.set("", -2*time.Hour) // the token that it has is over, and there is no other
		_, err := sched.Watch(t.Context(), []broker.Launch{launch(t)})
		require.Error(t, err)
		token := mint(t, "1")
		bare, err := slurm.New(slurm.Config{BaseURL: c.URL, User: person, Token: func(context.Context) (string, error) { return token, nil }})
		require.NoError(t, err)
		t.Cleanup(bare.Close)
		require.Eventually(t, func() bool {
			_, err := bare.Job(t.Context(), 4000000)
			e, ok := errors.AsType[*slurm.Error](err)
			return ok && e.Class() == slurm.ClassAuth
		}, time.Minute, 100*time.Millisecond)
		p.set(token, 2*time.Hour)
	}
	return sched, expire, func() { p.set(mint(t, "3600"), 2*time.Hour) }
}
