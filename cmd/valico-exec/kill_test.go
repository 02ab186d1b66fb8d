package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/spool"
)

// At every point: the workload ran at most once, a marked attempt never starts
// again, an unmarked one still may, and no outcome is invented.
func TestKilledAnywhereAnAttemptRunsAtMostOnce(t *testing.T) {
	t.Parallel()
	for _, p := range []struct {
		point           string
		marked, spooled bool
		outcome         string
	}{
		{"order_read", false, false, ""},
		{"order_verified", false, false, ""},
		{"start_marked", true, false, ""},
		{"spool_started", true, true, ""},
		{"unpacked", true, true, ""},
		{"sandbox_started", true, true, ""},
		{"outcome_written", true, true, "ok"},
	} {
		t.Run(p.point, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, self(t))
			if p.point == "sandbox_started" {
				s.spec.Image.Command = []string{"/work", "wait"}
			}
			s.stage()
			c := s.command("killable", "run")
			c.Env = append(c.Env, "VALICO_EXEC_KILLPOINT="+p.point)
			require.Equal(t, -1, s.finish(c).code, "not killed")
			requireExists(t, p.marked, filepath.Join(s.attempt(), "start"))
			requireExists(t, p.spooled, filepath.Join(s.attempt(), "spool"))
			if p.spooled {
				rs := s.records()
				require.Equal(t, p.outcome, rs[len(rs)-1].Outcome)
			}
			requireNoWorkload(t, s)
			ranBefore := s.runs()
			again := s.exec("run")
			if !p.marked {
				require.Zero(t, again.code, again.stderr)
				require.Equal(t, 1, s.runs())
				return
			}
			require.Equal(t, 77, again.code)
			require.Equal(t, "second_start", code(t, again.stderr))
			require.Equal(t, ranBefore, s.runs())
			require.LessOrEqual(t, s.runs(), 1)
		})
	}
}

func requireExists(t *testing.T, want bool, path string) {
	t.Helper()
	_, err := os.Lstat(path)
	require.Equal(t, want, err == nil, path)
}

// requireNoWorkload waits until no process has the attempt's output open.
func requireNoWorkload(t *testing.T, s *site) {
	t.Helper()
	own, err := os.Stat(filepath.Join(s.attempt(), "root/work"))
	if err != nil {
		return // nothing was unpacked
	}
	require.Eventually(t, func() bool {
		exes, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, e := range exes {
			if fi, err := os.Stat(e); err == nil && os.SameFile(fi, own) {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond)
}

func TestTheLauncherDiesBeforeItsWorkloadSpeaks(t *testing.T) {
	t.Parallel()
	s := newSite(t, self(t))
	s.spec.Image.Command = []string{"/work", "wait"}
	s.stage()
	c := s.command("valico-exec", "run")
	require.NoError(t, c.Start())
	s.awaitWaiting()
	require.NoError(t, c.Process.Kill())
	_ = c.Wait()
	requireNoWorkload(t, s)
	rs := s.records()
	require.NotEqual(t, spool.KindOutcome, rs[len(rs)-1].Kind)
	require.Equal(t, 77, s.exec("run").code)
}

func TestTheLauncherReachesNoNetworkCode(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		for _, forbidden := range []string{"net/http", "github.com/open-policy-agent", "github.com/nats-io", "github.com/containerd", "valico/images/remote", "valico/slurm", "database/sql"} {
			require.NotContains(t, dep, forbidden)
		}
	}
}

func TestTheProductionBuildHasNoKillPoint(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"valico-exec": false, "killable": true} {
		b, err := os.ReadFile(binary(t, name))
		require.NoError(t, err)
		require.Equal(t, want, strings.Contains(string(b), "VALICO_EXEC_KILLPOINT"), name)
	}
}
