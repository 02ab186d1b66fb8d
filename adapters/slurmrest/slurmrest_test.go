package slurmrest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
)

func who(uid, gid int) func(string) (slurmrest.Identity, error) {
	return func(string) (slurmrest.Identity, error) { return slurmrest.Identity{UID: uid, GID: gid}, nil }
}

func TestRootAndSystemAccountsAreRefused(t *testing.T) {
	t.Parallel()
	for _, id := range [][2]int{{0, 0}, {0, 1000}, {999, 1000}, {1, 1}, {-1, 5}, {1000, 0}} {
		_, err := slurmrest.New(slurmrest.Config{Dir: t.TempDir(), Accounts: []string{"x"}, Lookup: who(id[0], id[1])})
		require.Equal(t, "account_system", broker.CodeOf(err), "%v", id)
	}
	_, err := slurmrest.New(slurmrest.Config{Dir: t.TempDir(), Accounts: []string{"root"}})
	require.Equal(t, "account_system", broker.CodeOf(err))
	_, err = slurmrest.New(slurmrest.Config{Dir: t.TempDir(), Accounts: []string{"no-such-account"}})
	require.Equal(t, "account_unknown", broker.CodeOf(err))
}

func TestASocketsFolderThatOthersCouldSwapIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("who is not root serves the own account only")
	}
	for name, spoil := range map[string]func(dir string) error{
		"open to all":     func(dir string) error { return os.Chmod(dir, 0o777) },
		"an account's":    func(dir string) error { return os.Chown(dir, 65000, 65000) },
		"below a group's": func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o775) },
	} {
		dir := filepath.Join(t.TempDir(), "run")
		require.NoError(t, os.Mkdir(dir, 0o711))
		require.NoError(t, spoil(dir))
		_, err := slurmrest.New(slurmrest.Config{Dir: dir, Accounts: []string{"x"}, Lookup: who(65000, 65000)})
		require.Equal(t, "site_place_unsafe", broker.CodeOf(err), "%s: %v", name, err)
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []slurmrest.Config{
		{}, {Dir: "relative", Accounts: []string{"x"}}, {Dir: t.TempDir()}, {Dir: "/" + strings.Repeat("d", 120), Accounts: []string{"x"}},
	} {
		_, err := slurmrest.New(c)
		require.Error(t, err, "%+v", c)
	}
}

// mine returns a scheduler for this process's own account, or for one that a
// process of root may take, whose slurmrestd is a program of the test.
func mine(t *testing.T, program string) (*slurmrest.Scheduler, broker.Launch) {
	t.Helper()
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 65000, 65000
	}
	dir, err := os.MkdirTemp("", "sr") //nolint:usetesting // short, for a socket, and passable for another account
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	exe := filepath.Join(dir, "slurmrestd")
	require.NoError(t, os.WriteFile(exe, []byte("#!/bin/sh\n"+program+"\n"), 0o755))
	s, err := slurmrest.New(slurmrest.Config{Dir: filepath.Join(dir, "s"), Accounts: []string{"x"}, Slurmrestd: exe, Lookup: who(uid, gid)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, broker.Launch{
		Name: "n", Account: "x", OrderDigest: broker.DigestOf([]byte("o")), Dir: "/tmp", Argv: []string{"/bin/true"},
		Resources: broker.Resources{Nodes: 1, Walltime: time.Minute},
	}
}

func TestADaemonThatDoesNotStayUpIsAnOutage(t *testing.T) {
	t.Parallel()
	s, l := mine(t, "exit 3")
	ctx, cancel := timeout(t, time.Second)
	defer cancel()
	require.Equal(t, broker.KindUnavailable, broker.KindOf(s.Submit(ctx, l)))
	_, err := s.Watch(ctx, []broker.Launch{l})
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
}

func TestAnUnmappedAccountIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	s, l := mine(t, "exit 3")
	l.Account = "root"
	require.Equal(t, "account_not_mapped", broker.CodeOf(s.Submit(t.Context(), l)))
	require.Equal(t, "account_not_mapped", broker.CodeOf(s.Cancel(t.Context(), l)))
	_, err := s.Find(t.Context(), l)
	require.Equal(t, "account_not_mapped", broker.CodeOf(err))
	_, err = s.Usage(t.Context(), l)
	require.Equal(t, "account_not_mapped", broker.CodeOf(err))
}

func TestLaunchesThatCannotBeAreRefusedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*broker.Launch){
		"name":     func(l *broker.Launch) { l.Name = "a b" },
		"no name":  func(l *broker.Launch) { l.Name = "" },
		"digest":   func(l *broker.Launch) { l.OrderDigest = "permit 7" },
		"argv":     func(l *broker.Launch) { l.Argv = nil },
		"relative": func(l *broker.Launch) { l.Argv = []string{"sh"} },
		"newline":  func(l *broker.Launch) { l.Argv = []string{"/bin/sh", "a\nb"} },
		"folder":   func(l *broker.Launch) { l.Dir = "x" },
		"nodes":    func(l *broker.Launch) { l.Resources.Nodes = 0 },
		"no limit": func(l *broker.Launch) { l.Resources.Walltime = 0 },
		"type":     func(l *broker.Launch) { l.Resources.GPUType = "h100:8,license/x" },
		"loader":   func(l *broker.Launch) { l.Env = []broker.EnvVar{{Name: "LD_PRELOAD", Value: "x"}} },
		"slurm":    func(l *broker.Launch) { l.Env = []broker.EnvVar{{Name: "SLURM_CONF", Value: "x"}} },
	} {
		s, l := mine(t, "exit 3")
		change(&l)
		require.Equal(t, "launch_invalid", broker.CodeOf(s.Submit(t.Context(), l)), name)
	}
}
