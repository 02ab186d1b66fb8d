//go:build linux

package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/sandbox"
)

// ordinaryUID is a user without any right, for tests that run as root.
const ordinaryUID = 20111

const launcherEnv = "VALICO_SANDBOX_TEST_SPEC"

// TestMain makes this binary three things: the tests, the launcher that they
// start as other users and kill, and the launcher's own helper.
func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	if path := os.Getenv(launcherEnv); path != "" {
		os.Exit(launcher(path))
	}
	code := m.Run()
	_ = os.RemoveAll(probeDir)
	os.Exit(code)
}

type launch struct {
	Spec    sandbox.Spec
	Metrics bool
}

type outcome struct {
	Result  sandbox.Result
	Error   string
	Step    string
	Started bool
	Metrics string
}

func launcher(path string) int {
	var l launch
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var o outcome
	l.Spec.Stdout, l.Spec.Stderr = os.Stdout, os.Stderr
	l.Spec.Started = func() { o.Started = true }
	var read *os.File
	if l.Metrics {
		read, l.Spec.Metrics, _ = os.Pipe()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	users := make(chan os.Signal, 1)
	signal.Notify(users, syscall.SIGUSR1)
	passed := make(chan syscall.Signal)
	l.Spec.Signals = passed
	go func() {
		for s := range users {
			passed <- s.(syscall.Signal) //nolint:forcetypeassert // it is one on Linux
		}
	}()
	res, err := sandbox.Run(ctx, l.Spec)
	o.Result = res
	if err != nil {
		o.Error = err.Error()
		o.Step = stepOf(err)
	}
	if l.Metrics {
		_ = l.Spec.Metrics.Close()
		all, _ := io.ReadAll(read)
		o.Metrics = string(all)
	}
	b, _ = json.Marshal(o)
	if err := os.WriteFile(path+".result", b, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// place is a site in small: an unpacked image that holds the probe alone, a
// dataset and an output folder, owned by one user.
type place struct {
	t                    *testing.T
	uid                  int
	dir, root, data, out string
	launcher             string
}

// users are who the tests run as: whoever runs them and, for root, an ordinary
// user as well.
func users() []int {
	if os.Getuid() == 0 {
		return []int{0, ordinaryUID}
	}
	return []int{os.Getuid()}
}

func eachUser(t *testing.T, test func(p *place)) {
	t.Helper()
	for _, uid := range users() {
		t.Run(fmt.Sprintf("uid %d", uid), func(t *testing.T) {
			t.Parallel()
			test(newPlace(t, uid))
		})
	}
}

func newPlace(t *testing.T, uid int) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "valico-sandbox-test-") //nolint:usetesting // the parents of t.TempDir are closed to the other user
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &place{
		t: t, uid: uid, dir: dir, root: filepath.Join(dir, "root"), data: filepath.Join(dir, "data"),
		out: filepath.Join(dir, "out"), launcher: filepath.Join(dir, "launcher"),
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, d := range []string{p.root, p.root + "/bin", p.root + "/etc", p.data, p.out} {
		require.NoError(t, os.Mkdir(d, 0o755))
	}
	require.NoError(t, os.WriteFile(p.data+"/f", []byte("data"), 0o644))
	copyFile(t, probePath(t), p.root+"/bin/probe")
	self, err := os.Executable()
	require.NoError(t, err)
	copyFile(t, self, p.launcher)
	require.NoError(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil || uid == os.Getuid() {
			return err
		}
		return os.Lchown(path, uid, uid)
	}))
	return p
}

// copyFile makes a program that can be started at once: a child that another
// test forks meanwhile must not hold it open for writing.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(to, b, 0o755))
}

func (p *place) spec(argv ...string) sandbox.Spec {
	return sandbox.Spec{
		Isolation: sandbox.IsolationUserNS, Root: p.root, Out: p.out, Argv: append([]string{"/bin/probe"}, argv...),
		Mounts:     []sandbox.Mount{{Source: p.data, Target: "/data/x", ReadOnly: true}},
		Env:        []string{"PATH=/bin", "HOME=/elsewhere", "VALICO_METRICS=/dev/fd/3"},
		KillMargin: 5 * time.Second, TmpSizeMiB: 16,
	}
}

// command is a launcher of the spec, ready to start.
func (p *place) command(l launch) *exec.Cmd {
	p.t.Helper()
	b, err := json.Marshal(l)
	require.NoError(p.t, err)
	path := filepath.Join(p.dir, "spec")
	require.NoError(p.t, os.WriteFile(path, b, 0o644))
	c := exec.CommandContext(p.t.Context(), p.launcher)
	c.Env = []string{launcherEnv + "=" + path, "SECRET=of-the-launcher", "GORACE=atexit_sleep_ms=0"}
	c.Dir = p.dir
	if p.uid != os.Getuid() {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid)}}
	}
	return c
}

func (p *place) result() outcome {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "spec.result"))
	require.NoError(p.t, err)
	var o outcome
	require.NoError(p.t, json.Unmarshal(b, &o))
	return o
}

func (p *place) run(l launch) (outcome, string) {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	c := p.command(l)
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(p.t, c.Run(), stderr.String())
	return p.result(), stdout.String()
}

// waiting starts a launcher and returns when its workload says that it waits.
func (p *place) waiting(l launch) (*exec.Cmd, *bufio.Reader) {
	p.t.Helper()
	c := p.command(l)
	out, err := c.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, c.Start())
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		require.NoError(p.t, err)
		if strings.HasPrefix(line, "waiting") {
			return c, r
		}
	}
}
