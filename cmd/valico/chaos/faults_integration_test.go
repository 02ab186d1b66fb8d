//go:build integration

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/deploy/lab"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
)

// fault strikes; what it returns takes it back.
type fault struct {
	name   string
	strike func() (undo func())
}

// faults are all that may happen to a world.
func (w *world) faults(ctx context.Context, t *testing.T) []fault {
	t.Helper()
	fs := []fault{
		{"the broker is killed", func() func() { w.Kill(); return w.Revive }},
		{"slurmrestd is killed", func() func() { killChildren(t, w.PID(), "slurmrestd"); return func() {} }},
		{"slurmctld hangs", func() func() {
			require.NoError(t, w.slurm.Pause(lab.Slurmctld))
			return func() { require.NoError(t, w.slurm.Resume(lab.Slurmctld)) }
		}},
		{"nomad hangs", func() func() {
			require.NoError(t, w.nomad.Pause())
			return func() { require.NoError(t, w.nomad.Resume()) }
		}},
		{"nomad is killed", func() func() {
			require.NoError(t, w.nomad.Down())
			return func() { require.NoError(t, w.nomad.Up(ctx)) }
		}},
		{"the agent is killed", func() func() { w.remote.EndAgent(syscall.SIGKILL); return w.remote.StartAgent }},
		{"an answer of nomad is lost", func() func() { w.link.LoseAnswer("PUT /v1/jobs"); return func() {} }},
	}
	for _, l := range []struct {
		to   string
		link *faultproxy.Proxy
	}{{"nomad", w.link}, {"the agent", w.remote.Link}} {
		fs = append(fs,
			fault{"the link to " + l.to + " is slow and lossy", func() func() {
				l.link.Set(faultproxy.Link{Delay: 20 * time.Millisecond, Jitter: 80 * time.Millisecond, Reset: 0.05, Stall: 0.1, StallFor: 500 * time.Millisecond})
				return func() { l.link.Set(faultproxy.Link{}) }
			}},
			fault{"the link to " + l.to + " is cut", func() func() { l.link.Cut(); return l.link.Heal }},
			fault{"the link to " + l.to + " is silent", func() func() { l.link.Freeze(); return l.link.Thaw }},
		)
	}
	daemons := []lab.Daemon{lab.Slurmctld, lab.Slurmdbd}
	for _, n := range w.slurm.Nodes {
		daemons = append(daemons, lab.Slurmd(n))
	}
	for _, d := range daemons {
		fs = append(fs, fault{string(d) + " is killed", func() func() {
			require.NoError(t, w.slurm.Kill(ctx, d))
			if d == lab.Slurmctld {
				w.forgot = time.Now()
			}
			return func() { require.NoError(t, w.slurm.Begin(d)) }
		}})
	}
	return fs
}

// storm strikes until ctx ends, each fault once and then any of them. It leaves
// everything up.
func (w *world) storm(ctx context.Context, t *testing.T, rng *rand.Rand) {
	t.Helper()
	all := w.faults(t.Context(), t) //nolint:contextcheck // what was struck is taken back after the storm too
	order := rng.Perm(len(all))
	for i := 0; ctx.Err() == nil || i < len(all); i++ {
		f := all[rng.IntN(len(all))]
		if i < len(all) {
			f = all[order[i]]
		}
		down, up := time.Duration(200+rng.IntN(1800))*time.Millisecond, time.Duration(500+rng.IntN(1500))*time.Millisecond
		t.Logf("%s: %s for %s", time.Now().Format("15:04:05.000"), f.name, down)
		undo := f.strike()
		<-time.After(down)
		undo()
		<-time.After(up)
	}
}

// killChildren kills the processes of a name that a process started, or that
// these started.
func killChildren(t *testing.T, of int, name string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	parent, names := map[int]int{}, map[int]string{}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		// pid (comm) state ppid …
		comm, rest := string(b[strings.IndexByte(string(b), '(')+1:strings.LastIndexByte(string(b), ')')]), string(b[strings.LastIndexByte(string(b), ')')+1:])
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		ppid, err := strconv.Atoi(strings.Fields(rest)[1])
		require.NoError(t, err)
		parent[pid], names[pid] = ppid, comm
	}
	for pid, comm := range names {
		for p := parent[pid]; p > 1 && comm == name; p = parent[p] {
			if p == of {
				require.NoError(t, ignoreGone(syscall.Kill(pid, syscall.SIGKILL)))
				break
			}
		}
	}
}

func ignoreGone(err error) error {
	if err == nil || err == syscall.ESRCH { //nolint:errorlint // a bare errno
		return nil
	}
	return fmt.Errorf("kill: %w", err)
}
