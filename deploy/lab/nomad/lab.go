package nomadlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/hashicorp/nomad/api"
)

// Lab is a running agent.
type Lab struct {
	Dir       string   // everything of the lab
	Site      string   // an empty folder for a site, which every account may pass through
	Address   string   // of the HTTP API
	Namespace string   // one to use; "stranger" is another
	Tenants   []string // two more, for two tenants
	GPUType   string   // model of the emulated GPUs
	GPUs      int      // how many the one node has
	Users     map[string]int
	API       *api.Client `json:"-"` // with the management token
	Secret    string      // the management token

	bin   string
	ports [3]int
	held  *os.File // the lock that says that this folder is in use
	init  *exec.Cmd
	ended chan struct{}
}

// Stranger is a namespace beside the lab's own.
const Stranger = "stranger"

const readyIn = 90 * time.Second

// Start brings an agent up and returns when its node is ready with all GPUs.
// Progress is written to log. The agent ends with Stop, or when this process does.
func Start(ctx context.Context, log io.Writer) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("nomadlab: the Nomad lab needs root")
	}
	bin, err := built(ctx, log)
	if err != nil {
		return nil, err
	}
	for range 3 { // somebody else may take a port that was free
		var l *Lab
		if l, err = start(ctx, bin); err == nil {
			return l, nil
		}
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return nil, err
}

func start(ctx context.Context, bin string) (*Lab, error) {
	l := &Lab{
		Namespace: "site", Tenants: []string{"t-7f3a", "t-91c0"}, GPUType: "H100", GPUs: 4, Users: map[string]int{"nomadlab1": 61101, "nomadlab2": 61102},
		bin: bin, ended: make(chan struct{}),
	}
	if err := l.makeFolder(ctx); err != nil {
		return nil, err
	}
	if err := l.run(); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	err := l.prepare(ctx)
	if err == nil {
		err = l.describe()
	}
	if err != nil {
		tail, _ := os.ReadFile(filepath.Join(l.Dir, "agent.log"))
		return nil, errors.Join(fmt.Errorf("%w; the agent says: %s", err, tail[max(0, len(tail)-3000):]), l.Stop())
	}
	return l, nil
}

// describe writes for Open what a lab is; it holds the management token.
func (l *Lab) describe() error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("describe the lab: %w", err)
	}
	if err := os.WriteFile(filepath.Join(l.Dir, "lab.json"), b, 0o600); err != nil {
		return fmt.Errorf("describe the lab: %w", err)
	}
	return nil
}

// Open reads a lab that another process started and ends; what needs that
// process, such as Down, does not work on it.
func Open(dir string) (*Lab, error) {
	b, err := os.ReadFile(filepath.Join(dir, "lab.json")) //nolint:gosec // named by whoever started the lab
	if err != nil {
		return nil, fmt.Errorf("open the Nomad lab: %w", err)
	}
	var l Lab
	if err := json.Unmarshal(b, &l, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("open the Nomad lab: %w", err)
	}
	if l.API, err = api.NewClient(&api.Config{Address: l.Address, SecretID: l.Secret}); err != nil {
		return nil, fmt.Errorf("open the Nomad lab: %w", err)
	}
	return &l, nil
}

// makeFolder makes the lab's folder and removes those that dead labs left.
func (l *Lab) makeFolder(ctx context.Context) error {
	root, err := cache()
	if err != nil {
		return err
	}
	all, err := lock(filepath.Join(root, "nomad-labs.lock"))
	if err != nil {
		return err
	}
	defer func() { _ = all.Close() }()
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), "valico-nomad-*"))
	for _, dir := range old {
		if f, err := os.Open(filepath.Join(dir, "lock")); err == nil { //nolint:gosec // a folder of ours
			if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				_ = os.RemoveAll(dir)
			}
			_ = f.Close()
		}
	}
	if l.Dir, err = os.MkdirTemp("", "valico-nomad-"); err != nil {
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	if l.held, err = lock(filepath.Join(l.Dir, "lock")); err != nil {
		return err
	}
	l.Site = filepath.Join(l.Dir, "site")
	for _, d := range []string{l.Dir, l.Site, filepath.Join(l.Dir, "data"), filepath.Join(l.Dir, "second")} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // tasks pass through
			return fmt.Errorf("make the lab's folder: %w", err)
		}
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // tasks pass through
			return fmt.Errorf("make the lab's folder: %w", err)
		}
	}
	if l.ports, err = freePorts(ctx); err != nil {
		return err
	}
	l.Address = "http://127.0.0.1:" + strconv.Itoa(l.ports[0])
	return l.writeFiles()
}

func (l *Lab) writeFiles() error {
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return fmt.Errorf("read the machine's accounts: %w", err)
	}
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		return fmt.Errorf("read the machine's groups: %w", err)
	}
	for name, text := range map[string]string{
		"init": initScript, "agent.hcl": l.config(), "unhealthy": "",
		"passwd": passwd(string(users), l.Users), "group": group(string(groups), l.Users),
	} {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // tasks read the accounts
			return fmt.Errorf("write the lab's files: %w", err)
		}
	}
	return nil
}

func freePorts(ctx context.Context) ([3]int, error) {
	var out [3]int
	for i := range out {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return out, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = ln.Close() }()
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			out[i] = a.Port
		}
	}
	return out, nil
}

// run starts the first process of the namespaces. It stays on one thread of the
// operating system: the signal at the parent's death is bound to the thread that
// started it.
func (l *Lab) run() error {
	l.init = exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", //nolint:gosec,noctx // Stop ends it
		"/bin/sh", filepath.Join(l.Dir, "init"), l.Dir, filepath.Join(l.bin, "nomad"))
	l.init.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := os.OpenFile(filepath.Join(l.Dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	l.init.Stdout, l.init.Stderr = out, out
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(l.ended)
		err := l.init.Start()
		_ = out.Close()
		started <- err
		if err == nil {
			_ = l.init.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	return nil
}

// Stop ends the agent and every task, and removes the folder.
func (l *Lab) Stop() error {
	if err := l.init.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the agent: %w", err)
	}
	<-l.ended
	return l.remove()
}

// remove removes the folder once the last process in it is gone, which the
// kernel ends a moment after the first.
func (l *Lab) remove() error {
	defer func() { _ = l.held.Close() }()
	var err error
	for range 100 {
		if err = os.RemoveAll(l.Dir); err == nil {
			return nil
		}
		<-time.After(50 * time.Millisecond)
	}
	return fmt.Errorf("remove the lab's folder: %w", err)
}
