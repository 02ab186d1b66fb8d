//go:build linux

package sandbox_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/sandbox"
)

// probeDir is where the probe was built, "" while nobody asked for it.
var probeDir string

var probeOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "valico-sandbox-probe-")
	if err != nil {
		return "", err
	}
	probeDir = dir
	path := filepath.Join(dir, "probe")
	c := exec.Command("go", "build", "-trimpath", "-o", path, "./testdata/probe")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// probePath is the compiled probe. It must be static.
func probePath(tb testing.TB) string {
	tb.Helper()
	path, err := probeOnce()
	require.NoError(tb, err)
	return path
}

func stepOf(err error) string {
	if e, ok := errors.AsType[*sandbox.SetupError](err); ok {
		return e.Step
	}
	return ""
}

func TestNamespacesAreAvailableHere(t *testing.T) {
	t.Parallel()
	isolation, reason := sandbox.Available(t.Context())
	require.Equal(t, sandbox.IsolationUserNS, isolation, reason)
}

// reach runs the probe beside listeners that it must not reach.
func reach(t *testing.T, p *place) map[string]string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // ends with the test
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer u.Close() //nolint:errcheck // ends with the test
	secret := filepath.Join(p.dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s"), 0o644))
	a, err := net.Listen("unix", "@valico-sandbox-test-"+filepath.Base(secret)+filepath.Base(p.dir))
	require.NoError(t, err)
	defer a.Close() //nolint:errcheck // ends with the test
	o, stdout := p.run(launch{Spec: p.spec("reach", l.Addr().String(), u.LocalAddr().String(), secret)})
	require.Empty(t, o.Error)
	require.True(t, o.Started)
	require.Equal(t, sandbox.Result{}, o.Result)
	require.NoError(t, u.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, _, err = u.ReadFrom(make([]byte, 16))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a datagram left the sandbox")
	var r map[string]string
	require.NoError(t, json.Unmarshal([]byte(stdout), &r), stdout)
	return r
}

func TestAWorkloadReachesNothing(t *testing.T) {
	t.Parallel()
	eachUser(t, func(p *place) {
		t := p.t
		r := reach(t, p)
		contains := map[string]string{
			"tcp": "connection refused", "tcp_out": "unreachable", "udp_out": "unreachable",
			"dns": "lookup example.org", "abstract": "refused",
			"write_data": "read-only", "write_root": "read-only", "write_etc": "read-only", "write_dev": "read-only",
			"write_core_pattern": "", "write_userns_limit": "", "write_sysrq": "", "write_oom": "read-only",
			"write_data_file": "read-only", "chmod_null": "", "chmod_data": "read-only", "host_path": "no such file",
			"pid1_exe": "permission denied", "pid1_root": "permission denied", "pid1_cwd": "permission denied",
			"pid1_environ": "permission denied", "pid1_fd": "permission denied", "pid1_mem": "permission denied",
			"remount_data": "not permitted", "remount_root": "not permitted", "remount_proc": "not permitted",
			"umount_data": "not permitted", "mount_tmpfs": "not permitted", "bind": "not permitted",
			"mknod": "not permitted", "chroot": "not permitted", "sethostname": "not permitted",
			"ptrace": "not permitted", "unshare_net": "not permitted", "setuid": "", "nested": "no space left",
			"family_vsock": "address family not supported", "family_alg": "address family not supported",
			"family_packet": "address family not supported", "family_bluetooth": "address family not supported",
			"family_tipc": "address family not supported", "call_io_uring": "not implemented", "call_add_key": "not implemented",
			"call_keyctl": "not implemented", "call_bpf": "not implemented",
		}
		for name, want := range contains {
			require.NotEqual(t, "ok", r[name], name)
			require.Contains(t, r[name], want, name)
		}
		for _, name := range []string{"family_unix", "family_inet6", "family_netlink", "own_loopback", "write_out", "write_home", "write_tmp", "write_shm", "write_null"} {
			require.Equal(t, "ok", r[name], name)
		}
		require.Equal(t, "lo ", r["interfaces"])
		require.Equal(t, "dataok", r["data"])
		require.Equal(t, "0 0", r["core"])
		require.FileExists(t, filepath.Join(p.out, "new"))
	})
}

// A first version left ambient capabilities through the exec, and the data
// could be remounted writable. Root inside is as powerless, and so are its
// children.
func TestNoCapabilityIsLeftInAnySet(t *testing.T) {
	t.Parallel()
	eachUser(t, func(p *place) {
		t := p.t
		r := reach(t, p)
		var child map[string]string
		require.NoError(t, json.Unmarshal([]byte(strings.TrimSuffix(r["child"], "ok")), &child), r["child"])
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			require.Equal(t, "0000000000000000", r[set], set)
			require.Equal(t, "0000000000000000", child[set], "a child's %s", set)
		}
		require.Equal(t, "1", r["NoNewPrivs"])
		require.Equal(t, "1", child["NoNewPrivs"])
	})
}

func TestAWorkloadSeesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	eachUser(t, func(p *place) {
		t := p.t
		r := reach(t, p)
		require.Len(t, strings.Fields(r["procs"]), 2, r["procs"]) // the supervisor and itself
		require.Empty(t, r["fds"])
		require.Equal(t, "bin data dev etc home out proc tmpok", r["root_entries"])
		require.Equal(t, "fd full null random shm stderr stdin stdout urandom zerook", r["dev_entries"])
		require.Equal(t, "PATH=/bin VALICO_METRICS=/dev/fd/3 HOME=/home/job TMPDIR=/tmp VALICO_DATA=/data VALICO_OUT=/out", r["env"])
		require.Equal(t, "job", r["hostname"])
		require.Equal(t, "/", r["cwd"])
	})
}

func TestLinksOfTheImageAreNotFollowedOnTheHost(t *testing.T) {
	t.Parallel()
	for name, link := range map[string][2]string{
		"out": {"out", "../victim"}, "data": {"data", "../victim"}, "proc": {"proc", "/proc"}, "tmp": {"tmp", "/tmp"},
		"home": {"home", "/home"}, "absolute data": {"data", "/etc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, os.Getuid())
			victim := filepath.Join(p.dir, "victim")
			require.NoError(t, os.Mkdir(victim, 0o755))
			require.NoError(t, os.Symlink(link[1], filepath.Join(p.root, link[0])))
			o, _ := p.run(launch{Spec: p.spec("exit", "0")})
			require.NotEmpty(t, o.Error)
			require.False(t, o.Started)
			left, err := os.ReadDir(victim)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestAReadOnlyImageAndAFileAsDataWork(t *testing.T) {
	t.Parallel()
	eachUser(t, func(p *place) {
		t := p.t
		require.NoError(t, os.Chmod(p.root, 0o555))
		s := p.spec("pwd")
		s.WorkDir = "/etc"
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: filepath.Join(p.data, "f"), Target: "/data/y", ReadOnly: true})
		o, stdout := p.run(launch{Spec: s})
		require.Empty(t, o.Error)
		require.Equal(t, "/etc data <nil> <nil> <nil> <nil>\n", stdout)
		require.NoError(t, os.Chmod(p.root, 0o755))
	})
}
