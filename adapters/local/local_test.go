package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/local"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

func open(t *testing.T, c local.Config) *local.Scheduler {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.MaxParallel == 0 {
		c.MaxParallel = 32
	}
	if c.KillMargin == 0 {
		c.KillMargin = time.Second
	}
	s, err := local.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func launch(t *testing.T) broker.Launch {
	t.Helper()
	name := broker.NewID[string]("att")
	return broker.Launch{
		Name: name, Account: "someone", OrderDigest: broker.DigestOf([]byte(name)), Dir: t.TempDir(),
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 2, CPUsPerNode: 1, Walltime: time.Minute},
	}
}

func script(t *testing.T, text string) broker.Launch {
	t.Helper()
	l := launch(t)
	l.Argv = []string{"/bin/sh", "-c", "echo start >>starts; " + text}
	return l
}

func starts(t *testing.T, l broker.Launch) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Dir, "starts"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	return strings.Count(string(b), "\n")
}

func await(t *testing.T, s agent.Scheduler, l broker.Launch, ok func(agent.Status) bool) agent.Status {
	t.Helper()
	var last agent.Status
	require.Eventually(t, func() bool {
		st, err := s.Find(t.Context(), l)
		last = st
		return err == nil && ok(st)
	}, 20*time.Second, 10*time.Millisecond, "stands at %+v", &last)
	return last
}

func is(want ...agent.SchedulerState) func(agent.Status) bool {
	return func(st agent.Status) bool {
		return slices.Contains(want, st.State)
	}
}

func TestOneSlotRunsOneAfterTheOtherAndSaysWhatTheRestWaitsFor(t *testing.T) {
	t.Parallel()
	s := open(t, local.Config{MaxParallel: 1})
	first, second := script(t, `while [ ! -e end ]; do sleep 0.02; done`), script(t, "true")
	require.NoError(t, s.Submit(t.Context(), first))
	require.NoError(t, s.Submit(t.Context(), second))
	await(t, s, first, is(agent.SchedulerRunning))
	require.Contains(t, await(t, s, second, is(agent.SchedulerQueued)).Waiting.Words, "1 slots")
	require.Zero(t, starts(t, second))
	require.NoError(t, os.WriteFile(filepath.Join(first.Dir, "end"), nil, 0o600))
	await(t, s, second, is(agent.SchedulerEnded))
	require.Equal(t, 1, starts(t, second))
}

func TestAQueueOutlivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, local.Config{Dir: dir, MaxParallel: 1})
	first, second := script(t, `while [ ! -e end ]; do sleep 0.02; done`), script(t, "true")
	require.NoError(t, s.Submit(t.Context(), first))
	require.NoError(t, s.Submit(t.Context(), second))
	await(t, s, first, is(agent.SchedulerRunning))
	require.NoError(t, s.Close())
	again := open(t, local.Config{Dir: dir, MaxParallel: 1})
	await(t, again, second, is(agent.SchedulerQueued))
	require.NoError(t, os.WriteFile(filepath.Join(first.Dir, "end"), nil, 0o600))
	await(t, again, first, is(agent.SchedulerGone)) // not its child: the exit code is not known
	await(t, again, second, is(agent.SchedulerEnded))
	require.Equal(t, 1, starts(t, first))
	require.Equal(t, 1, starts(t, second))
}

func TestAnAdoptedProcessIsCancelledAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, local.Config{Dir: dir})
	l := script(t, `sleep 600 & echo $! >child; wait`)
	require.NoError(t, s.Submit(t.Context(), l))
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(l.Dir, "child")); return err == nil }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, s.Close())
	again := open(t, local.Config{Dir: dir})
	require.NoError(t, again.Cancel(t.Context(), l))
	st := await(t, again, l, is(agent.SchedulerEnded))
	require.Equal(t, broker.OutcomeCancelled, st.Outcome)
	b, err := os.ReadFile(filepath.Join(l.Dir, "child"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { // it is gone, or waits for its new parent to notice
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 10*time.Second, 10*time.Millisecond)
}

func TestTwoSchedulersNeverShareAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, local.Config{Dir: dir})
	_, err := local.New(local.Config{Dir: dir})
	require.Equal(t, "site_in_use", broker.CodeOf(err))
}

func TestANameBelongsToOneOrder(t *testing.T) {
	t.Parallel()
	s := open(t, local.Config{})
	l := script(t, "true")
	require.NoError(t, s.Submit(t.Context(), l))
	l.OrderDigest = broker.DigestOf([]byte("another"))
	require.Equal(t, "launch_name_taken", broker.CodeOf(s.Submit(t.Context(), l)))
}

func TestWhatCannotBeALaunchIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, local.Config{Dir: dir})
	for name, change := range map[string]func(*broker.Launch){
		"a path as name":      func(l *broker.Launch) { l.Name = "../x" },
		"no name":             func(l *broker.Launch) { l.Name = "" },
		"no digest":           func(l *broker.Launch) { l.OrderDigest = "" },
		"a relative program":  func(l *broker.Launch) { l.Argv[0] = "sh" },
		"no program":          func(l *broker.Launch) { l.Argv = nil },
		"a relative folder":   func(l *broker.Launch) { l.Dir = "x" },
		"more than one node":  func(l *broker.Launch) { l.Resources.Nodes = 2 },
		"a name with a slash": func(l *broker.Launch) { l.Name = "a/b" },
	} {
		l := script(t, "true")
		change(&l)
		require.Equal(t, broker.KindInvalid, broker.KindOf(s.Submit(t.Context(), l)), name)
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "only the lock")
}

func TestUsageIsWhatTheSpoolSays(t *testing.T) {
	t.Parallel()
	s := open(t, local.Config{})
	l := script(t, "true")
	w, err := spool.Create(filepath.Join(l.Dir, "spool"))
	require.NoError(t, err)
	require.NoError(t, w.Append(spool.Record{Kind: spool.KindOutcome, At: time.Now(), Outcome: "ok", ElapsedSeconds: 42}))
	require.NoError(t, w.Close())
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, is(agent.SchedulerEnded))
	u, err := s.Usage(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, broker.Usage{GPUSeconds: 84, Elapsed: 42 * time.Second, Method: "spool"}, u)
}

func TestAProcessOfAnotherStartTimeIsNeverSignalled(t *testing.T) {
	t.Parallel()
	bystander := exec.CommandContext(t.Context(), "/bin/sleep", "600")
	bystander.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, bystander.Start())
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()

	born := time.Now() // start times are counted in hundredths of a second
	require.Eventually(t, func() bool { return time.Since(born) > 50*time.Millisecond }, time.Second, 10*time.Millisecond)

	dir := t.TempDir()
	s := open(t, local.Config{Dir: dir})
	l := script(t, `while :; do sleep 0.05; done`)
	require.NoError(t, s.Submit(t.Context(), l))
	await(t, s, l, is(agent.SchedulerRunning))
	require.NoError(t, s.Close())

	path := filepath.Join(dir, l.Name+".json")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var rec map[string]any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	require.NoError(t, d.Decode(&rec))
	pid := rec["pid"]
	t.Cleanup(func() { // the real one must not stay behind
		var n int
		_, _ = fmt.Sscan(fmt.Sprint(pid), &n)
		_ = syscall.Kill(-n, syscall.SIGKILL)
	})
	rec["pid"] = bystander.Process.Pid // as if the pid had been given to somebody else
	b, err = json.Marshal(rec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))

	again := open(t, local.Config{Dir: dir})
	require.NoError(t, again.Cancel(t.Context(), l))
	await(t, again, l, is(agent.SchedulerGone))
	require.NoError(t, bystander.Process.Signal(syscall.Signal(0)), "the bystander lives")
}

// TestMain lets this binary be the broker that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("VALICO_LOCAL_CRASH") != "" {
		crash()
		return
	}
	os.Exit(m.Run())
}

// crash submits one launch and kills itself at the step it is told.
func crash() {
	l := broker.Launch{
		Name: "att_crash", OrderDigest: broker.DigestOf([]byte("order")), Dir: os.Getenv("VALICO_LOCAL_DIR"),
		Argv: []string{"/bin/sh", "-c", "echo start >>starts; sleep 0.3"},
	}
	s, err := local.New(local.Config{Dir: os.Getenv("VALICO_LOCAL_SITE"), Step: func(name string) {
		if name == os.Getenv("VALICO_LOCAL_CRASH") {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err == nil {
		err = s.Submit(context.Background(), l)
	}
	fmt.Fprintln(os.Stderr, "not killed:", err)
	os.Exit(1)
}

func TestABrokerKilledAtAnyStepNeverStartsALaunchTwice(t *testing.T) {
	t.Parallel()
	for step, wantStarts := range map[string]int{"recorded": 1, "waiting": 1, "pid_recorded": 0, "opened": 1} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := broker.Launch{Name: "att_crash", OrderDigest: broker.DigestOf([]byte("order")), Dir: t.TempDir(), Argv: []string{"/bin/true"}}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "VALICO_LOCAL_CRASH="+step, "VALICO_LOCAL_SITE="+dir, "VALICO_LOCAL_DIR="+l.Dir)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Empty(t, string(out))

			s := open(t, local.Config{Dir: dir})
			require.NoError(t, s.Submit(t.Context(), l))
			await(t, s, l, is(agent.SchedulerEnded, agent.SchedulerGone))
			require.Equal(t, wantStarts, starts(t, l), "at %s", step)
		})
	}
}
