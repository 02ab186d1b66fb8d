package brokertest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/authority"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// Broker is one broker process after the other over one data folder. Processes
// are started and ended by one goroutine; others may call Client and Submit.
type Broker struct {
	Dir   string // everything of the test
	World *demo.World

	t       *testing.T
	bin     string
	cfg     app.Config
	cfgFile string
	auth    *authority.Authority
	url     atomic.Value // string
	proc    *exec.Cmd
}

// New makes the authority's keys and a folder. The process is not started.
func New(t *testing.T) *Broker {
	t.Helper()
	b := &Broker{t: t, Dir: t.TempDir(), bin: Programs(t)}
	var err error
	b.auth, err = demo.NewAuthority(b.Dir)
	require.NoError(t, err)
	b.cfg = app.DefaultConfig()
	b.cfg.DataDir, b.cfg.Listen, b.cfg.Authorities = filepath.Join(b.Dir, "broker"), "127.0.0.1:0", b.auth.AuthoritiesFile()
	b.cfg.Poll = 50 * time.Millisecond
	b.cfgFile = filepath.Join(b.Dir, "valico.yaml")
	t.Cleanup(b.Stop)
	return b
}

// Configure changes the configuration that the next process reads.
func (b *Broker) Configure(change func(c *app.Config)) {
	b.t.Helper()
	change(&b.cfg)
	text, err := yaml.Marshal(b.cfg)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(b.cfgFile, text, 0o600))
}

// DataDir is the broker's data folder.
func (b *Broker) DataDir() string { return b.cfg.DataDir }

// URL is where the present process serves.
func (b *Broker) URL() string { s, _ := b.url.Load().(string); return s }

// PID is of the present process, 0 when there is none.
func (b *Broker) PID() int {
	if b.proc == nil {
		return 0
	}
	return b.proc.Process.Pid
}

// Prepare fills the record with a site, its dataset in a folder, the story's
// persons and permit. The process that does it dies at no point and runs on.
func (b *Broker) Prepare(site wire.Site, dataset string, gpuHours float64) {
	b.t.Helper()
	b.Start("")
	w, err := demo.Prepare(b.t.Context(), demo.WorldConfig{
		Dir: b.Dir, URL: b.URL(), OperatorToken: filepath.Join(b.cfg.DataDir, "operator.token"), Authority: b.auth,
		Site: site, DataDir: dataset, GPUHours: gpuHours,
	})
	require.NoError(b.t, err, "%s", b.Log())
	b.World = w
}

// Start starts a process that dies at a named point, or at none when it is "".
func (b *Broker) Start(killAt string) {
	b.t.Helper()
	c := exec.Command(filepath.Join(b.bin, "valico"), "serve", "--config", b.cfgFile) //nolint:gosec,noctx // our own program; Stop ends it
	c.Env = append(os.Environ(), "VALICO_KILL_AT="+killAt)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(filepath.Join(b.Dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(b.t, err)
	defer log.Close() //nolint:errcheck // the child has its own copy
	c.Stderr = log
	out, err := c.StdoutPipe()
	require.NoError(b.t, err)
	require.NoError(b.t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b.t, err, "the broker did not start: %s", b.Log())
	b.url.Store(strings.TrimSpace(strings.TrimPrefix(line, "serving ")))
	b.proc = c
	if b.World != nil {
		b.World.URL = b.URL()
		require.NoError(b.t, b.World.SignInAgain())
	}
}

// Log is the end of what the processes logged.
func (b *Broker) Log() string {
	text, _ := os.ReadFile(filepath.Join(b.Dir, "broker.log"))
	return string(text[max(0, len(text)-6000):])
}

// Stop ends the process that runs, if one does, and waits for it.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

// Kill kills the process that runs, if one does.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

func (b *Broker) end(s syscall.Signal) {
	if b.proc == nil {
		return
	}
	_ = b.proc.Process.Signal(s)
	_ = b.proc.Wait()
	b.proc = nil
}

// Revive starts a process that dies at no point if the last one has died.
func (b *Broker) Revive() {
	b.t.Helper()
	if b.proc != nil {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(b.proc.Process.Pid, &ws, syscall.WNOHANG, nil)
		if pid == 0 && err == nil {
			return
		}
		require.True(b.t, ws.Signaled() && ws.Signal() == syscall.SIGKILL, "the broker ended otherwise: %v\n%s", ws, b.Log())
		_ = b.proc.Process.Release()
		b.proc = nil
	}
	b.Start("")
}

// Job is what Submit asks for.
type Job struct {
	Permit string // the world's when empty
	Site   wire.Site
	Args   string // of /worker, in YAML's flow style: `, "-exit", "7"`
	More   string // further lines of the job file
}

// Submit submits with the command, as the developer. Repeated with the same key
// it is the same submission.
func (b *Broker) Submit(ctx context.Context, j Job, key string) (wire.Job, error) {
	f := demo.JobFile{Permit: cmp.Or(j.Permit, b.World.Permit.ID), Site: j.Site.Name, Epochs: 1, Walltime: 2 * time.Minute}
	if len(j.Site.GPUs) > 0 {
		f.GPUs, f.GPUType = 1, j.Site.GPUs[0].Name
	}
	at, end, _ := strings.Cut(f.YAML(), "  command: ")
	_, end, _ = strings.Cut(end, "\n")
	text := strings.ReplaceAll(at, "context: image", "context: "+filepath.Join(b.bin, "image")) + "  command: [/worker" + j.Args + "]\n" + end + j.More
	file := filepath.Join(b.Dir, key+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return wire.Job{}, err //nolint:wrapcheck // says enough
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	stdout, err := b.command(ctx, demo.Developer, "submit", file, "--idempotency-key", key, "-o", "json")
	if err != nil {
		return wire.Job{}, err
	}
	var job wire.Job
	return job, json.Unmarshal(stdout, &job) //nolint:wrapcheck // says enough
}

// Client calls the present process as a person. World.Client does so too, but
// not while another goroutine starts a process.
func (b *Broker) Client(who broker.PersonID) (*client.Client, error) {
	token, err := os.ReadFile(b.World.TokenFile(who))
	if err != nil {
		return nil, err //nolint:wrapcheck // says enough
	}
	return client.New(client.Config{ //nolint:wrapcheck // says enough
		Server: b.URL(), Token: broker.Secret(strings.TrimSpace(string(token))), HTTP: &http.Client{Timeout: 20 * time.Second}, Agent: "valico-test",
	})
}

// VerifyLedger checks the whole ledger with the command, as the operator.
func (b *Broker) VerifyLedger() error {
	_, err := b.command(b.t.Context(), demo.OperatorID, "ledger", "verify", "--key", filepath.Join(b.cfg.DataDir, "keys", "ledger.pub"))
	return err
}

// command runs valico as a person and returns its standard output.
func (b *Broker) command(ctx context.Context, who broker.PersonID, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, filepath.Join(b.bin, "valico"), args...) //nolint:gosec // our own program
	c.Env = append(os.Environ(), "VALICO_SERVER="+b.URL(), "VALICO_TOKEN_FILE="+b.World.TokenFile(who))
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("valico %s: %w: %s%s", args[0], err, &stdout, &stderr)
	}
	return stdout.Bytes(), nil
}
