//go:build linux

package sandbox_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/sandbox"
)

func eachIsolation(t *testing.T, test func(p *place, l launch)) {
	t.Helper()
	for _, isolation := range []sandbox.Isolation{sandbox.IsolationUserNS, sandbox.IsolationNone} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			eachUser(t, func(p *place) {
				l := launch{Spec: p.spec()}
				l.Spec.Isolation = isolation
				test(p, l)
			})
		})
	}
}

func (l launch) with(argv ...string) launch {
	l.Spec.Argv = append([]string{"probe"}, argv...)
	return l
}

func TestTheExitCodeComesOut(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		for _, code := range []string{"0", "3", "255"} {
			o, _ := p.run(l.with("exit", code))
			require.Empty(t, o.Error)
			require.Equal(t, code, strconv.Itoa(o.Result.ExitCode))
			require.Zero(t, o.Result.Signal)
		}
	})
}

func TestTheSignalComesOut(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		o, _ := p.run(l.with("abort"))
		require.Equal(t, sandbox.Result{ExitCode: 137, Signal: 9}, o.Result)
		o, _ = p.run(l.with("signal"))
		require.Equal(t, sandbox.Result{ExitCode: 143, Signal: 15}, o.Result)
	})
}

func TestAMissingCommandFailsAtExec(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		for _, argv0 := range []string{"none", "/bin/none", "/etc"} {
			l.Spec.Argv = []string{argv0}
			o, _ := p.run(l)
			require.False(t, o.Started)
			if l.Spec.Isolation == sandbox.IsolationUserNS {
				require.Equal(t, sandbox.StepExec, o.Step, o.Error)
			}
			require.NotEmpty(t, o.Error)
		}
	})
}

func TestCancelSendsTermOnce(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		c, out := p.waiting(l.with("polite"))
		require.NoError(t, c.Process.Signal(syscall.SIGTERM))
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "terminated\n", line)
		require.NoError(t, c.Wait())
		require.Equal(t, sandbox.Result{ExitCode: 5, Cancelled: true}, p.result().Result)
	})
}

func TestTheDeafAreKilledAfterTheMargin(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		l.Spec.KillMargin = 100 * time.Millisecond
		c, _ := p.waiting(l.with("deaf"))
		require.NoError(t, c.Process.Signal(syscall.SIGTERM))
		require.NoError(t, c.Wait())
		require.Equal(t, sandbox.Result{ExitCode: 137, Signal: 9, Cancelled: true, Killed: true}, p.result().Result)
		p.requireAlone()
	})
}

func TestNoWorkloadOutlivesItsLauncher(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		c, _ := p.waiting(l.with("deaf"))
		require.NotEmpty(t, p.processes())
		require.NoError(t, c.Process.Kill())
		_ = c.Wait()
		p.requireAlone()
	})
}

func TestNothingThatAWorkloadStartedOutlivesIt(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		l.Spec.Argv = []string{"/bin/probe", "orphans"}
		o, _ := p.run(l)
		require.Equal(t, sandbox.Result{}, o.Result)
		p.requireAlone()
	})
}

func TestMetricsArriveOnFileThree(t *testing.T) {
	t.Parallel()
	eachIsolation(t, func(p *place, l launch) {
		t := p.t
		l.Metrics = true
		o, stdout := p.run(l.with("metrics"))
		require.Equal(t, "/dev/fd/3 <nil>\n", stdout)
		require.Equal(t, "{\"name\":\"loss\"}\n", o.Metrics)
	})
}

func TestIsolationNoneTellsTheRealPaths(t *testing.T) {
	t.Parallel()
	eachUser(t, func(p *place) {
		t := p.t
		s := p.spec("pwd")
		s.Isolation, s.WorkDir = sandbox.IsolationNone, "/etc"
		o, stdout := p.run(launch{Spec: s})
		require.Empty(t, o.Error)
		require.Equal(t, filepath.Join(p.root, "etc")+" data <nil> <nil> <nil> <nil>\n", stdout)
		require.FileExists(t, filepath.Join(p.out, "f"))
		left, err := filepath.Glob(filepath.Join(p.dir, "scratch-*"))
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestIsolationNoneRunsNoProgramOfTheHost(t *testing.T) {
	t.Parallel()
	p := newPlace(t, os.Getuid())
	require.NoError(t, os.Symlink("/bin/true", filepath.Join(p.root, "bin/link")))
	for _, argv0 := range []string{"/usr/bin/true", "link", "../../../../bin/true"} {
		s := p.spec()
		s.Isolation, s.Argv = sandbox.IsolationNone, []string{argv0}
		o, _ := p.run(launch{Spec: s})
		require.False(t, o.Started, argv0)
	}
}

func TestABadSpecIsRefused(t *testing.T) {
	t.Parallel()
	good := sandbox.Spec{Isolation: sandbox.IsolationUserNS, Root: "/x", Argv: []string{"/a"}}
	for name, spoil := range map[string]func(*sandbox.Spec){
		"isolation":     func(s *sandbox.Spec) { s.Isolation = "" },
		"command":       func(s *sandbox.Spec) { s.Argv = nil },
		"relative root": func(s *sandbox.Spec) { s.Root = "x" },
		"work dir":      func(s *sandbox.Spec) { s.WorkDir = "x" },
		"zero byte":     func(s *sandbox.Spec) { s.Env = []string{"A=\x00"} },
		"not UTF-8":     func(s *sandbox.Spec) { s.Argv = []string{"/a", "\xff"} },
		"target proc":   func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/a", Target: "/proc/x"}} },
		"target root":   func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/a", Target: "/"}} },
		"target climbs": func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/a", Target: "/data/../x"}} },
		"target above":  func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/a", Target: "/home"}} },
		"targets nested": func(s *sandbox.Spec) {
			s.Mounts = []sandbox.Mount{{Source: "/a", Target: "/d"}, {Source: "/a", Target: "/d/e"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := good
			spoil(&s)
			_, err := sandbox.Run(t.Context(), s)
			require.Equal(t, "spec", stepOf(err))
		})
	}
}

func TestMetricsMustBeAPipe(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // ends with the test
	s := sandbox.Spec{Isolation: sandbox.IsolationUserNS, Root: t.TempDir(), Argv: []string{"/a"}, Metrics: f}
	_, err = sandbox.Run(t.Context(), s)
	require.Equal(t, "metrics", stepOf(err))
}

// processes lists those whose program lies in this test's own folder.
func (p *place) processes() []string {
	var all []string
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, e := range exes {
		if target, err := os.Readlink(e); err == nil && strings.HasSuffix(target, "/bin/probe") && p.mine(filepath.Dir(e)) {
			all = append(all, e)
		}
	}
	return all
}

// mine compares the program itself: inside a namespace its path reads
// differently.
func (p *place) mine(proc string) bool {
	exe, err := os.Stat(proc + "/exe")
	if err != nil {
		return false
	}
	own, err := os.Stat(filepath.Join(p.root, "bin/probe"))
	return err == nil && os.SameFile(exe, own)
}

func (p *place) requireAlone() {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return len(p.processes()) == 0 }, 5*time.Second, 10*time.Millisecond)
}

// BenchmarkRun is a whole life: namespaces, mounts, three execs, the workload.
func BenchmarkRun(b *testing.B) {
	root, out := b.TempDir(), b.TempDir()
	body, err := os.ReadFile(probePath(b))
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(filepath.Join(root, "probe"), body, 0o755))
	s := sandbox.Spec{Isolation: sandbox.IsolationUserNS, Root: root, Out: out, Argv: []string{"/probe", "exit", "0"}}
	for b.Loop() {
		res, err := sandbox.Run(b.Context(), s)
		require.NoError(b, err)
		require.Zero(b, res.ExitCode)
	}
}
