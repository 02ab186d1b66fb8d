package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// builtDir is where the programs are, "" while nobody asked for them.
var builtDir string

// built are the programs that the tests run: the launcher as it is delivered,
// the one with kill points, and the workload.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "valico-exec-bin-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"-o", filepath.Join(dir, "valico-exec"), "."},
		{"-tags", "killpoints", "-o", filepath.Join(dir, "killable"), "."},
		{"-o", filepath.Join(dir, "work"), "./testdata/work"},
	} {
		c := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags=-s -w"}, args...)...)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", errors.New(string(out))
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(builtDir)
	os.Exit(code)
}

func binary(t *testing.T, name string) string {
	t.Helper()
	dir, err := built()
	require.NoError(t, err)
	return filepath.Join(dir, name)
}

func program(t *testing.T) string { t.Helper(); return binary(t, "work") }

func self(t *testing.T) *user.User {
	t.Helper()
	u, err := user.Current()
	require.NoError(t, err)
	return u
}

// accounts are whoever runs the tests and, for root, an ordinary one.
func accounts(t *testing.T) []*user.User {
	t.Helper()
	all := []*user.User{self(t)}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		require.NoError(t, err)
		all = append(all, nobody)
	}
	return all
}

type ran struct {
	code           int
	stdout, stderr string
}

func (s *site) command(name string, args ...string) *exec.Cmd {
	s.t.Helper()
	args = append(args, "--site", s.dir, "--attempt", s.attempt())
	c := exec.CommandContext(s.t.Context(), binary(s.t, name), args...)
	c.Env = []string{"PATH=/usr/bin:/bin", "CUDA_VISIBLE_DEVICES=2", "SECRET=of-the-node"}
	c.SysProcAttr = s.credential()
	return c
}

func (s *site) exec(args ...string) ran {
	s.t.Helper()
	return s.finish(s.command("valico-exec", args...))
}

func (s *site) finish(c *exec.Cmd) ran {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		require.NoError(s.t, err)
	}
	return ran{code: c.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

func (s *site) records() []spool.Record {
	s.t.Helper()
	rs, _, err := spool.ReadFrom(filepath.Join(s.attempt(), "spool"), 0)
	require.NoError(s.t, err)
	return rs
}

func (s *site) outcome() spool.Record {
	s.t.Helper()
	rs := s.records()
	require.NotEmpty(s.t, rs)
	last := rs[len(rs)-1]
	require.Equal(s.t, spool.KindOutcome, last.Kind)
	return last
}

// runs is how often the workload ran.
func (s *site) runs() int {
	b, _ := os.ReadFile(filepath.Join(s.attempt(), "out/runs"))
	return len(b)
}

func code(t *testing.T, stderr string) string {
	t.Helper()
	var c struct{ Code string }
	require.NoError(t, json.Unmarshal([]byte(stderr), &c), stderr)
	return c.Code
}

func TestAnOrderRunsOnceAndItsSpoolTellsTheStory(t *testing.T) {
	t.Parallel()
	for _, account := range accounts(t) {
		for _, isolation := range []broker.Isolation{broker.IsolationUserNS, broker.IsolationNone} {
			t.Run(account.Username+" "+string(isolation), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, account)
				s.trust.Isolation = isolation
				s.stage()
				r := s.exec("run")
				require.Zero(t, r.code, r.stderr)
				require.Empty(t, r.stderr)
				requireStory(t, s, isolation)
				second := s.exec("run")
				require.Equal(t, 77, second.code)
				require.Equal(t, "second_start", code(t, second.stderr))
				requireStory(t, s, isolation)
			})
		}
	}
}

func requireStory(t *testing.T, s *site, isolation broker.Isolation) {
	t.Helper()
	var said, losses []string
	rs := s.records()
	for _, r := range rs {
		switch r.Kind {
		case spool.KindLog:
			said = append(said, r.Name+": "+r.Text)
		case spool.KindMetric:
			losses = append(losses, r.Name)
		case spool.KindStarted, spool.KindNotice, spool.KindOutcome:
		}
	}
	require.Equal(t, spool.KindStarted, rs[0].Kind)
	require.Equal(t, string(isolation), rs[0].Name)
	require.Equal(t, 1, rs[0].GPUs)
	require.ElementsMatch(t, []string{"stdout: rows 2", "stderr: no newline at the end"}, said)
	require.Equal(t, []string{"loss", "loss", "loss"}, losses)
	o := s.outcome()
	require.Equal(t, "ok", o.Outcome)
	require.Equal(t, uint64(3), o.Dropped)
	require.Positive(t, o.ElapsedSeconds)
	require.Equal(t, 1, s.runs())
	require.FileExists(t, filepath.Join(s.attempt(), "out/model.bin"))
	require.NoDirExists(t, filepath.Join(s.attempt(), "root"))
	var mark struct{ Order broker.Digest }
	b, err := os.ReadFile(filepath.Join(s.attempt(), "start"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &mark))
	raw, err := os.ReadFile(filepath.Join(s.attempt(), "order.json"))
	require.NoError(t, err)
	require.Equal(t, broker.DigestOf(raw), mark.Order)
}

func TestTheExitCodeIsTheWorkloads(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.spec.Image.Command = []string{"/work", "exit"}
	s.stage()
	require.Equal(t, 3, s.exec("run").code)
	o := s.outcome()
	require.Equal(t, "exit", o.Outcome)
	require.Equal(t, 3, o.ExitCode)
}

func TestAWorkloadSeesTheImagesEnvironmentAndItsGPUs(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.spec.Image.Command = []string{"/work", "env"}
	s.stage()
	require.Zero(t, s.exec("run").code)
	var said []string
	for _, r := range s.records() {
		if r.Kind == spool.KindLog {
			said = append(said, r.Text)
		}
	}
	require.ElementsMatch(t, []string{
		"SEED=7", "CUDA_VISIBLE_DEVICES=2", "VALICO_METRICS=/dev/fd/3", "VALICO_DATA=/data", "VALICO_OUT=/out", "HOME=/home/job", "TMPDIR=/tmp",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, said)
}

func TestTermCancelsAndWalltimeEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		walltime time.Duration
		outcome  string
	}{"term": {time.Minute, "cancelled"}, "walltime": {time.Second, "walltime"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, self(t))
			s.spec.Image.Command, s.spec.Resources.Walltime = []string{"/work", "wait"}, c.walltime
			s.stage()
			cmd := s.command("valico-exec", "run")
			require.NoError(t, cmd.Start())
			s.awaitWaiting()
			if name == "term" {
				require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			}
			_ = cmd.Wait()
			require.Equal(t, 9, cmd.ProcessState.ExitCode())
			require.Equal(t, c.outcome, s.outcome().Outcome)
			require.Equal(t, 9, s.outcome().ExitCode)
		})
	}
}

func (s *site) awaitWaiting() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		rs, _, err := spool.ReadFrom(filepath.Join(s.attempt(), "spool"), 0)
		if err != nil {
			return false
		}
		for _, r := range rs {
			if r.Text == "waiting" {
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond)
}

func TestARefusalRunsNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*site){
		"order_malformed": func(s *site) { s.overwrite("attempts/att_one/order.json", "{}") },
		"order_not_yet":   func(s *site) { s.notBefore = time.Now().Add(30 * time.Minute); s.stage() },
		"trust_unavailable": func(s *site) {
			s.overwrite("attempts/att_one/trust.json", "{}")
		},
		"wrong_site": func(s *site) {
			b, err := os.ReadFile(filepath.Join(s.dir, "attempts", "att_one", "trust.json"))
			require.NoError(s.t, err)
			s.overwrite("attempts/att_one/trust.json", strings.Replace(string(b), "site_one", "site_two", 1))
		},
		"second_start": func(s *site) { s.overwrite("attempts/att_one/start", "") },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, self(t))
			s.stage()
			spoil(s)
			r := s.exec("run")
			require.Equal(t, want, code(t, r.stderr))
			if want == "trust_unavailable" {
				require.Equal(t, 70, r.code)
			} else {
				require.Equal(t, 77, r.code)
				require.NoFileExists(t, filepath.Join(s.attempt(), "root"))
			}
			require.Zero(t, s.runs())
			if want == "second_start" { // the spool is the first start's to make
				require.NoFileExists(t, filepath.Join(s.attempt(), "spool"))
				return
			}
			require.NoFileExists(t, filepath.Join(s.attempt(), "start"))
			require.Len(t, s.records(), 1)
			require.Equal(t, "launch_failed", s.outcome().Outcome)
			require.Equal(t, want, s.outcome().Code)
		})
	}
}

func (s *site) overwrite(path, body string) {
	s.t.Helper()
	path = filepath.Join(s.dir, path)
	_ = os.Remove(path)
	require.NoError(s.t, os.WriteFile(path, []byte(body), 0o644))
}

func TestAnOrderForAnotherAccountIsRefused(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can be two accounts")
	}
	s := newSite(t, accounts(t)[1])
	s.stage()
	c := s.command("valico-exec", "run")
	c.SysProcAttr = nil
	r := s.finish(c)
	require.Equal(t, 77, r.code)
	require.Equal(t, "wrong_account", code(t, r.stderr))
}

func TestATamperedLayerIsRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.stage()
	b, err := os.ReadFile(s.layer)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.Chmod(s.layer, 0o644))
	require.NoError(t, os.WriteFile(s.layer, b, 0o444))
	v := s.exec("verify", "-o", "json")
	require.Equal(t, 77, v.code)
	require.Contains(t, v.stdout, `"code":"image_tampered"`)
	r := s.exec("run")
	require.Equal(t, 77, r.code)
	require.Equal(t, "image_tampered", code(t, r.stderr))
	require.Equal(t, "image_tampered", s.outcome().Code)
	require.Equal(t, "launch_failed", s.outcome().Outcome)
	require.Zero(t, s.runs())
	require.NoDirExists(t, filepath.Join(s.attempt(), "root"))
}

func TestACommandThatTheImageLacksIsALaunchFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.spec.Image.Command = []string{"/none"}
	s.stage()
	r := s.exec("run")
	require.Equal(t, 70, r.code)
	require.Equal(t, "exec_failed", code(t, r.stderr))
	require.Equal(t, "exec_failed", s.outcome().Code)
}

func TestVerifySaysWhatItCheckedAndWritesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.stage()
	before, err := os.ReadDir(s.attempt())
	require.NoError(t, err)
	r := s.exec("verify", "-o", "json")
	require.Zero(t, r.code, r.stderr)
	var v struct {
		Verified bool
		Checked  []string
		Layers   []string
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &v))
	require.True(t, v.Verified)
	require.Len(t, v.Checked, 23)
	require.Len(t, v.Layers, 1)
	after, err := os.ReadDir(s.attempt())
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Contains(t, s.exec("verify").stdout, "ok       image_tampered\n")
}

func TestUsageErrorsAreTheirOwn(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"start"}, {"run"}, {"run", "--site", "x", "--attempt", "/y"}, {"run", "--what"}, {"verify", "--site", "/x", "--attempt", "/y", "-o", "xml"}} {
		c := exec.CommandContext(t.Context(), binary(t, "valico-exec"), args...)
		_ = c.Run()
		require.Equal(t, 64, c.ProcessState.ExitCode(), args)
	}
	out, err := exec.CommandContext(t.Context(), binary(t, "valico-exec"), "version").Output()
	require.NoError(t, err)
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "+") // the commit stands behind it where the build knows it
	require.Equal(t, broker.Version, version)
}
