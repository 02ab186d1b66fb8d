package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/local"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// TestMain lets this binary be valico-exec.
func TestMain(m *testing.M) {
	if os.Getenv("VALICO_AGENT_TEST_EXEC") != "" {
		os.Exit(execute(os.Args))
	}
	os.Exit(m.Run())
}

// execute does what the node's launcher does to the attempt's folder: start
// mark, spool, work until a file says that it may end, outcome.
func execute(args []string) int {
	if len(args) != 8 || args[1] != "run" || args[2] != "--site" || args[4] != "--attempt" || args[6] != "--kill-margin" {
		return 64
	}
	dir := args[5]
	f, err := os.OpenFile(filepath.Join(dir, "start"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 77
	}
	w, err := spool.Create(filepath.Join(dir, "spool"))
	if err != nil {
		return 70
	}
	err = errors.Join(f.Close(), w.Append(spool.Record{Kind: spool.KindStarted, At: time.Now()}),
		os.WriteFile(filepath.Join(dir, "out", "model.bin"), []byte("weights"), 0o600))
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if _, err := os.Stat(filepath.Join(dir, "finish")); err == nil {
			break
		}
		ctx, done := context.WithTimeout(context.Background(), 10*time.Millisecond)
		<-ctx.Done()
		done()
	}
	err = errors.Join(err, w.Append(spool.Record{Kind: spool.KindOutcome, At: time.Now(), Outcome: "ok", ElapsedSeconds: 3, GPUs: 1}), w.Close())
	if err != nil {
		return 70
	}
	return 0
}

func TestAJobOutlivesItsAgentAndItsSchedulerOnRealProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.clock.now = time.Now().UTC().Truncate(time.Microsecond)
	s.auth = ordertest.New(t, s.clock.now)
	s.auth.Pin(t, s.dir)
	boot := func() (*agent.Agent, func()) {
		l, err := local.New(local.Config{Dir: filepath.Join(s.dir, "local"), Env: []string{"VALICO_AGENT_TEST_EXEC=1"}})
		require.NoError(t, err)
		c := s.config()
		c.Scheduler, c.Now, c.PollEvery = l, time.Now, 20*time.Millisecond
		c.ExecPath, err = filepath.Abs(os.Args[0])
		require.NoError(t, err)
		a, err := agent.New(c)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		return a, func() {
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			require.NoError(t, a.Close())
			require.NoError(t, l.Close())
		}
	}
	await := func(a *agent.Agent, want broker.AttemptState) broker.AttemptReport {
		t.Helper()
		require.Eventually(t, func() bool { return s.report(a, att).State == want }, 20*time.Second, 10*time.Millisecond, want)
		return s.report(a, att)
	}
	a, stop := boot()
	o := s.auth.Issue(t, att, nil)
	require.NoError(t, a.Start(t.Context(), o))
	await(a, broker.AttemptRunning)
	stop()

	a, stop = boot()
	defer stop()
	require.NoError(t, a.Start(t.Context(), o))
	await(a, broker.AttemptRunning)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "attempts", string(att), "finish"), nil, 0o600))
	r := await(a, broker.AttemptDone)
	require.Equal(t, broker.OutcomeOK, r.Outcome)
	require.Equal(t, broker.Usage{GPUSeconds: 3, Elapsed: 3 * time.Second, Method: "spool"}, r.Usage)
	require.Len(t, r.Outputs.Files, 1)
	require.Equal(t, []string{"order_accepted", "started", "ended", "outputs_sealed"}, s.tel.names(att))
}
