//go:build integration

package slurmrest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/deploy/lab"
)

// cluster is the one lab of this test binary.
var cluster *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(func() int {
		l, err := lab.Start(context.Background(), os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		cluster = l
		code := m.Run()
		if err := l.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

const person, other = "labuser1", "labuser2"

var serial atomic.Int64

// settings are what every scheduler of these tests has, with a folder of its own.
func settings() slurmrest.Config {
	return slurmrest.Config{
		Dir:      filepath.Join(cluster.Site, fmt.Sprintf("r%d", serial.Add(1))),
		Accounts: []string{person, other}, Prefix: cluster.Prefix, SlurmConf: cluster.SlurmConf,
		KillMargin: time.Second, Settle: 2 * time.Second, PendingEvery: time.Second,
	}
}

func open(tb testing.TB, c slurmrest.Config) *slurmrest.Scheduler {
	tb.Helper()
	s, err := slurmrest.New(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// launch returns a launch of one GPU in a folder of its own.
func launch(tb testing.TB) broker.Launch {
	tb.Helper()
	name := launchName()
	dir := filepath.Join(cluster.Site, "attempts", name)
	require.NoError(tb, os.MkdirAll(dir, 0o755))
	require.NoError(tb, os.Chown(dir, cluster.Users[person], cluster.Users[person]))
	return broker.Launch{
		Name: name, Account: person, OrderDigest: broker.DigestOf([]byte(name)), Dir: dir, Argv: []string{"/bin/true"},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 1, GPUType: cluster.GPUType, CPUsPerNode: 1, MemoryMiB: 64, Walltime: time.Minute},
	}
}

func launchName() string { return strings.ToLower(rand.Text()) }

func uidOf(user string) string { return strconv.Itoa(cluster.Users[user]) }

// slurmSays runs a command of Slurm as root and returns what it prints.
func slurmSays(tb testing.TB, argv ...string) string {
	tb.Helper()
	out, err := cluster.Command(context.Background(), "root", argv...).CombinedOutput()
	require.NoError(tb, err, "%s", out)
	return string(out)
}

func ended(st agent.Status) bool { return st.State == agent.SchedulerEnded }

func await(tb testing.TB, s *slurmrest.Scheduler, l broker.Launch, ok func(agent.Status) bool) agent.Status {
	tb.Helper()
	var last agent.Status
	require.Eventually(tb, func() bool {
		st, err := s.Find(context.Background(), l)
		if err == nil {
			last = st
		}
		return err == nil && ok(st)
	}, time.Minute, 50*time.Millisecond, "launch %s stands at %+v", l.Name, &last)
	return last
}

// restPID finds the slurmrestd whose socket lies below a folder.
func restPID(tb testing.TB, dir string) int {
	tb.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(tb, err)
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err == nil && strings.HasPrefix(string(b), "slurmrestd\x00") && strings.Contains(string(b), "unix:"+dir+"/") {
			pid, err := strconv.Atoi(strings.Split(p, "/")[2])
			require.NoError(tb, err)
			return pid
		}
	}
	tb.Fatal("no slurmrestd of " + dir)
	return 0
}
