//go:build integration

package nomad_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/nomad"
	"github.com/valico-hpc/valico/broker"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

// cluster is the one agent of this test binary.
var cluster *nomadlab.Lab

func TestMain(m *testing.M) {
	os.Exit(func() int {
		l, err := nomadlab.Start(context.Background(), os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		cluster = l
		code := m.Run()
		if err := l.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

const (
	person, other  = "nomadlab1", "nomadlab2"
	pollFor        = time.Minute
	pollEach       = 50 * time.Millisecond
	margin         = time.Second
	neverForgotten = 0
)

// tokenFile makes a token that may only submit and read jobs of one namespace.
func tokenFile(tb testing.TB, namespace string, ttl time.Duration) string {
	tb.Helper()
	secret, err := cluster.Token(context.Background(), namespace, ttl)
	require.NoError(tb, err)
	path := filepath.Join(tb.TempDir(), "token")
	require.NoError(tb, os.WriteFile(path, []byte(secret+"\n"), 0o600))
	return path
}

func settings(tb testing.TB) nomad.Config {
	tb.Helper()
	return nomad.Config{
		Address: cluster.Address, Namespace: cluster.Namespace, TokenFile: tokenFile(tb, cluster.Namespace, neverForgotten),
		Accounts: []string{person, other}, UID: uid, KillMargin: margin, MHzPerCPU: 100, Reevaluate: time.Second,
	}
}

// uid looks where the agent looks: this machine does not have the accounts.
func uid(account string) (int, error) {
	n, ok := cluster.Users[account]
	if !ok {
		return 0, errors.New("no such account")
	}
	return n, nil
}

func open(tb testing.TB, c nomad.Config) *nomad.Scheduler {
	tb.Helper()
	s, err := nomad.New(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// launch returns a launch of one GPU in a folder of its own.
func launch(tb testing.TB) broker.Launch {
	tb.Helper()
	name := strings.ToLower(rand.Text())
	dir := filepath.Join(cluster.Site, name)
	require.NoError(tb, os.Mkdir(dir, 0o755))
	require.NoError(tb, os.Chown(dir, cluster.Users[person], cluster.Users[person]))
	return broker.Launch{
		Name: name, Account: person, OrderDigest: broker.DigestOf([]byte(name)), Dir: dir, Argv: []string{"/bin/true"},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 1, GPUType: cluster.GPUType, CPUsPerNode: 1, MemoryMiB: 64, Walltime: time.Minute},
	}
}

func ended(st agent.Status) bool   { return st.State == agent.SchedulerEnded }
func running(st agent.Status) bool { return st.State == agent.SchedulerRunning }

func await(tb testing.TB, s *nomad.Scheduler, l broker.Launch, ok func(agent.Status) bool) agent.Status {
	tb.Helper()
	var last agent.Status
	require.Eventually(tb, func() bool {
		st, err := s.Find(context.Background(), l)
		if err == nil {
			last = st
		}
		return err == nil && ok(st)
	}, pollFor, pollEach, "launch %s stands at %+v", l.Name, &last)
	return last
}

// watch is one launch's status by Watch, the zero Status when it is not known.
func watch(tb testing.TB, s *nomad.Scheduler, l broker.Launch) agent.Status {
	tb.Helper()
	sts, err := s.Watch(context.Background(), []broker.Launch{l})
	require.NoError(tb, err)
	if len(sts) == 0 {
		return agent.Status{}
	}
	return sts[0]
}
