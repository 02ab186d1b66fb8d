//go:build integration

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/authority"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// The named points at which a process is killed. A broker dies in itself, a
// launcher on the node; what the scheduler runs lives on.
var (
	brokerPoints = []string{
		"decided", "admitted", "packaged", "clearing", "cleared_undecided", "cleared", "receipted", "signed", "ready",
		"submitting", "started", "reported", "settled",
		"order_kept", "journal_received", "image_staged", "journal_staged", "journal_submitting", "submitted", "journal_submitted",
		"published", "journal_ended", "outputs_sealed", "journal_sealed",
	}
	localPoints = []string{"recorded", "marked", "opened", "waiting", "pid_recorded"}
	execPoints  = []string{
		"order_read", "order_verified", "start_marked", "spool_started", "unpacked", "sandbox_started", "outcome_written",
	}
)

// neverStarted is how an attempt ends that was launched and surely did nothing.
const neverStarted = "never_started"

// programs are the commands with their kill points, and the kill tests'
// workload, built once.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

func killable(t *testing.T) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "valico-kill-"); programs.err != nil { //nolint:usetesting // shared by every test
			return
		}
		for _, args := range [][]string{
			{"build", "-tags", "killpoints", "-o", programs.dir + "/", "github.com/valico-hpc/valico/cmd/valico", "github.com/valico-hpc/valico/cmd/valico-exec"},
			{"build", "-o", programs.dir + "/image/worker", "github.com/valico-hpc/valico/cmd/valico/testdata/worker"},
		} {
			c := exec.Command("go", args...)
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				programs.err = fmt.Errorf("go %v: %w\n%s", args, err, out)
				return
			}
		}
	})
	require.NoError(t, programs.err)
	return programs.dir
}

// run is one broker process after the other over one data folder.
type run struct {
	t       *testing.T
	dir     string
	bin     string
	data    string
	site    wire.Site
	cfgFile string
	url     string
	auth    *authority.Authority
	world   *demo.World
	proc    *exec.Cmd
	siteDir func() string
}

// newRun prepares a run on the local site, or on the lab when there is one.
func newRun(t *testing.T, launcher string, cluster *demo.SlurmLab) *run {
	t.Helper()
	r := &run{t: t, dir: t.TempDir(), bin: killable(t)}
	auth, err := demo.NewAuthority(r.dir)
	require.NoError(t, err)
	r.auth = auth
	cfg := app.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.Authorities = filepath.Join(r.dir, "broker"), "127.0.0.1:0", auth.AuthoritiesFile()
	cfg.Exec, cfg.Poll = launcher, 50*time.Millisecond
	r.data = filepath.Join(r.dir, "cohort")
	if cluster != nil {
		r.site, r.data, err = cluster.Site(&cfg)
		require.NoError(t, err)
		r.siteDir = cluster.SiteDir
	} else {
		r.site, err = demo.LocalSite()
		require.NoError(t, err)
		r.siteDir = func() string { return filepath.Join(cfg.DataDir, "sites", r.world.Site.ID) }
	}
	b, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	r.cfgFile = filepath.Join(r.dir, "valico.yaml")
	require.NoError(t, os.WriteFile(r.cfgFile, b, 0o600))
	t.Cleanup(r.stop)
	return r
}

// start starts a broker that dies at a point, or at none.
func (r *run) start(killAt string) {
	r.t.Helper()
	c := exec.Command(filepath.Join(r.bin, "valico"), "serve", "--config", r.cfgFile)
	c.Env = append(os.Environ(), "VALICO_KILL_AT="+killAt)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(filepath.Join(r.dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(r.t, err)
	defer log.Close() //nolint:errcheck // the child has its own copy
	c.Stderr = log
	out, err := c.StdoutPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(r.t, err, "the broker did not start: %s", r.log())
	r.url = strings.TrimSpace(strings.TrimPrefix(line, "serving "))
	r.proc = c
}

func (r *run) log() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "broker.log"))
	return string(b[max(0, len(b)-6000):])
}

// stop ends the broker that runs, if one does.
func (r *run) stop() {
	if r.proc == nil {
		return
	}
	_ = r.proc.Process.Signal(syscall.SIGTERM)
	_ = r.proc.Wait()
	r.proc = nil
}

// prepare fills the record; the broker that does it dies at no point.
func (r *run) prepare() {
	r.t.Helper()
	r.start("")
	w, err := demo.Prepare(r.t.Context(), demo.WorldConfig{
		Dir: r.dir, URL: r.url, OperatorToken: filepath.Join(r.dir, "broker", "operator.token"), Authority: r.auth,
		Site: r.site, DataDir: r.data, GPUHours: 1,
	})
	require.NoError(r.t, err, "%s", r.log())
	r.world = w
	r.stop()
}

// submit uses the command, with one idempotency key for every repetition.
func (r *run) submit(key string) (wire.Job, error) {
	r.t.Helper()
	j := demo.JobFile{Permit: r.world.Permit.ID, Site: r.site.Name, Epochs: 1, Walltime: 2 * time.Minute}
	if len(r.site.GPUs) > 0 {
		j.GPUs, j.GPUType = 1, r.site.GPUs[0].Name
	}
	text := strings.ReplaceAll(j.YAML(), "command: [/trainer", "command: [/worker")
	text = strings.ReplaceAll(text, "context: image", "context: "+filepath.Join(r.bin, "image"))
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, "job.yaml"), []byte(text), 0o600))
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(r.bin, "valico"), "submit", filepath.Join(r.dir, "job.yaml"), "--idempotency-key", key, "-o", "json")
	c.Env = append(os.Environ(), "VALICO_SERVER="+r.url, "VALICO_TOKEN_FILE="+r.world.TokenFile(demo.Developer))
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return wire.Job{}, fmt.Errorf("%w: %s", err, stderr.String())
	}
	var job wire.Job
	return job, json.Unmarshal(stdout.Bytes(), &job)
}

// ended waits for the job's end while the broker that was to die dies, and
// starts the next one whenever none runs.
func (r *run) ended(key string) wire.Job {
	r.t.Helper()
	var job wire.Job
	require.Eventually(r.t, func() bool {
		r.revive()
		r.world.URL = r.url
		require.NoError(r.t, r.world.SignInAgain())
		var err error
		if job.ID == "" {
			if job, err = r.submit(key); err != nil {
				return false
			}
		}
		got, err := r.world.Client(demo.Developer).Job(r.t.Context(), job.ID)
		if err != nil {
			return false
		}
		job = got
		return broker.JobState(job.State).Terminal()
	}, 90*time.Second, 50*time.Millisecond, "the job did not end: %+v\n%s", job, r.log())
	return job
}

// revive starts a broker that dies at no point if the last one has died.
func (r *run) revive() {
	r.t.Helper()
	if r.proc != nil {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(r.proc.Process.Pid, &ws, syscall.WNOHANG, nil)
		if pid == 0 && err == nil {
			return
		}
		require.True(r.t, ws.Signaled() && ws.Signal() == syscall.SIGKILL, "the broker ended otherwise: %v\n%s", ws, r.log())
		_ = r.proc.Process.Release()
		r.proc = nil
	}
	r.start("")
}

// truth checks the promises after a job's end.
func (r *run) truth(job wire.Job, want ...string) {
	r.t.Helper()
	require.Len(r.t, job.Attempts, 1)
	at := job.Attempts[0]
	state := job.State
	if at.Code == neverStarted && !slices.Contains(want, "failed") {
		state = neverStarted
	}
	require.Contains(r.t, want, state, "%+v\n%s", job, r.log())
	starts, err := os.ReadFile(filepath.Join(r.siteDir(), "quarantine", at.ID, "out", "starts"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(r.t, err)
	}
	if at.Code == neverStarted {
		require.Empty(r.t, starts)
	}
	require.LessOrEqual(r.t, bytes.Count(starts, []byte("start\n")), 1, "P4: the attempt was executed more than once")
	if job.State == "succeeded" {
		require.Equal(r.t, "start\n", string(starts))
	}
	ds, err := r.world.Client(demo.Developer).Decisions(r.t.Context(), job.ID)
	require.NoError(r.t, err)
	cleared := false
	for _, d := range ds.Decisions {
		cleared = cleared || d.Kind == "clearance" && d.Verdict == "allow" && d.Attempt == at.ID
	}
	require.True(r.t, cleared || len(starts) == 0, "P1: an attempt was started without a clearance")
	jobs, err := r.world.Client(demo.Developer).Jobs(r.t.Context(), "", 10)
	require.NoError(r.t, err)
	require.Len(r.t, jobs.Jobs, 1, "one idempotency key makes one job")
	as, err := r.world.Client(demo.OperatorID).Allocations(r.t.Context())
	require.NoError(r.t, err)
	require.Zero(r.t, as.Allocations[0].Reserved, "the reservation was settled")
	out, err := r.verifyLedger()
	require.NoError(r.t, err, "%s", out)
}

func (r *run) verifyLedger() ([]byte, error) {
	c := exec.Command(filepath.Join(r.bin, "valico"), "ledger", "verify", "--key", filepath.Join(r.dir, "broker", "keys", "ledger.pub"))
	c.Env = append(os.Environ(), "VALICO_SERVER="+r.url, "VALICO_TOKEN_FILE="+r.world.TokenFile(demo.OperatorID))
	return c.CombinedOutput()
}

// wrapper is valico-exec with a point at which it dies.
func wrapper(t *testing.T, dir, launcher, point string) string {
	t.Helper()
	path := filepath.Join(dir, "valico-exec")
	script := fmt.Sprintf("#!/bin/sh\nexport VALICO_EXEC_KILLPOINT=%s\nexec %s \"$@\"\n", point, launcher)
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// P1 and P4: kill -9 of the broker and of the launcher at every named step.
// Runs beyond one per step draw step and occurrence from a seed.
func TestKillNineAtEveryStepOnTheLocalSite(t *testing.T) {
	t.Parallel()
	bin := killable(t)
	const runs = 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	type attack struct{ broker, launcher string }
	var attacks []attack
	for _, p := range append(append([]string{}, brokerPoints...), localPoints...) {
		attacks = append(attacks, attack{broker: p})
	}
	for _, p := range execPoints {
		attacks = append(attacks, attack{launcher: p})
	}
	all := append(append([]string{}, brokerPoints...), localPoints...)
	for len(attacks) < runs {
		a := attack{broker: fmt.Sprintf("%s:%d", all[rng.IntN(len(all))], 1+rng.IntN(3))}
		if rng.IntN(4) == 0 {
			a.launcher = execPoints[rng.IntN(len(execPoints))]
		}
		attacks = append(attacks, a)
	}
	slots := make(chan struct{}, 3)
	for i, a := range attacks {
		t.Run(fmt.Sprintf("%03d_%s_%s", i, a.broker, a.launcher), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			launcher := filepath.Join(bin, "valico-exec")
			want := []string{"succeeded"}
			if a.launcher != "" {
				launcher = wrapper(t, t.TempDir(), launcher, a.launcher)
				want = []string{"failed"}
			}
			if a.launcher == "outcome_written" {
				want = []string{"succeeded"}
			}
			if point, _, _ := strings.Cut(a.broker, ":"); slices.Contains(localPoints, point) {
				// The launcher waits until its pid is on the disk. If its parent dies
				// before, it ends without having begun and never reaches its own point,
				// and the job says just that.
				want = append(want, neverStarted)
			}
			r := newRun(t, launcher, nil)
			r.prepare()
			r.start(a.broker)
			r.truth(r.ended("kill-"+fmt.Sprint(i)), want...)
			r.stop()
		})
	}
}
