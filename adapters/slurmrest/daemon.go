package slurmrest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/valico-hpc/valico/slurm"
)

const (
	startTime = 10 * time.Second // from start to an answering socket; 50 ms measured
	stopTime  = 3 * time.Second  // from TERM to KILL; 8 ms measured
	maxPause  = 5 * time.Second  // between two starts
)

// daemon keeps one slurmrestd running under one account's uid.
type daemon struct {
	cfg    Config
	who    Identity
	socket string
	rest   *slurm.Client

	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	ready chan struct{} // closed while the socket answers
	last  error         // why it is not ready
}

// socketPath has a folder for each uid, not for each name, which may be long.
func socketPath(dir string, uid int) string {
	return filepath.Join(dir, strconv.Itoa(uid), "rest")
}

func newDaemon(ctx context.Context, cfg Config, who Identity) (*daemon, error) {
	d := &daemon{cfg: cfg, who: who, socket: socketPath(cfg.Dir, who.UID), done: make(chan struct{}), ready: make(chan struct{})}
	if err := d.makeFolder(); err != nil {
		return nil, unavailable("make the folder of a socket", err)
	}
	var err error
	d.rest, err = slurm.New(slurm.Config{Socket: d.socket, Version: cfg.APIVersion, MaxConns: 16, Checked: d.checkPeer})
	if err != nil {
		return nil, unavailable("make a client", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the call; close ends it
	d.stop = cancel
	go d.run(ctx)
	return d, nil
}

// makeFolder makes the folder 0700 for the account. Its parent is ours, so
// nobody else can have put anything in its place.
func (d *daemon) makeFolder() error {
	dir := filepath.Dir(d.socket)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err //nolint:wrapcheck // the caller names the operation
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err //nolint:wrapcheck // the caller names the operation
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if err := os.Lchown(dir, d.who.UID, d.who.GID); err != nil {
		return err //nolint:wrapcheck // the caller names the operation
	}
	return os.Chmod(dir, 0o700) //nolint:gosec,wrapcheck // a folder, and the caller names the operation
}

// checkPeer refuses a listener that is not the account itself: the account owns
// the folder and could have put another socket, or a link to one, in its place.
func (d *daemon) checkPeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the listener: %w", err)
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("look at the listener: %w", err)
	}
	if cerr != nil {
		return fmt.Errorf("look at the listener: %w", cerr)
	}
	if int(cred.Uid) != d.who.UID {
		return fmt.Errorf("the listener runs as uid %d and not as %d", cred.Uid, d.who.UID)
	}
	return nil
}

// client waits until the daemon answers.
func (d *daemon) client(ctx context.Context) (*slurm.Client, error) {
	d.mu.Lock()
	ready := d.ready
	d.mu.Unlock()
	t := time.NewTimer(startTime)
	defer t.Stop()
	select {
	case <-ready:
		return d.rest, nil
	case <-d.done:
		return nil, unavailable("the scheduler is closed", nil)
	case <-ctx.Done():
		return nil, unavailable("wait for slurmrestd", errors.Join(context.Cause(ctx), d.why()))
	case <-t.C:
		return nil, unavailable("wait for slurmrestd", d.why())
	}
}

func (d *daemon) why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

func (d *daemon) close() {
	d.stop()
	<-d.done
	d.rest.Close()
}

// run keeps the daemon running until it is stopped. It stays on one thread of
// the operating system: the signal at the parent's death, which ends the daemon
// when this process is killed, is bound to the thread that started it.
func (d *daemon) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(d.done)
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := d.cfg.Now()
		err := d.once(ctx)
		d.rest.Close() // idle connections to it are dead
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		d.last = err
		d.mu.Unlock()
		d.cfg.Log.WarnContext(ctx, "slurmrestd ended", "uid", d.who.UID, "error", err)
		if d.cfg.Now().Sub(began) > time.Minute {
			pause = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// once runs the daemon to its end.
func (d *daemon) once(ctx context.Context) error {
	if err := os.Remove(d.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	cmd := d.command()
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start slurmrestd: %w", err)
	}
	ended := make(chan struct{})
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		d.attend(ctx, cmd, ended)
	}()
	err := cmd.Wait()
	close(ended)
	<-watch
	return fmt.Errorf("slurmrestd: %w: %s", errors.Join(err, errors.New("it ended")), out)
}

// attend announces the daemon when it answers and ends it when ctx does.
func (d *daemon) attend(ctx context.Context, cmd *exec.Cmd, ended <-chan struct{}) {
	if !d.answers(ctx, ended) {
		_ = cmd.Process.Kill() // it may have ended; Wait tells
		return
	}
	d.mu.Lock()
	close(d.ready)
	d.mu.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM) // likewise
		select {
		case <-ended:
		case <-time.After(stopTime):
			_ = cmd.Process.Kill() // likewise
		}
	}
	d.mu.Lock()
	d.ready = make(chan struct{})
	d.mu.Unlock()
}

func (d *daemon) answers(ctx context.Context, ended <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var dial net.Dialer
		if c, err := dial.DialContext(ctx, "unix", d.socket); err == nil {
			err = errors.Join(d.checkPeer(c), c.Close())
			if err == nil {
				return true
			}
			d.cfg.Log.ErrorContext(ctx, "slurmrestd socket", "uid", d.who.UID, "error", err)
			return false
		}
		select {
		case <-ended:
			return false
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// command is slurmrestd as the account: no capability, no way to regain one,
// no group but its own, an environment made here, and no token.
func (d *daemon) command() *exec.Cmd {
	argv := append([]string{}, d.cfg.Prefix...)
	if os.Geteuid() == 0 {
		argv = append(argv, "setpriv",
			"--reuid="+strconv.Itoa(d.who.UID), "--regid="+strconv.Itoa(d.who.GID), "--clear-groups",
			"--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--pdeathsig=KILL")
	}
	argv = append(argv, d.cfg.Slurmrestd)
	if d.cfg.SlurmConf != "" {
		argv = append(argv, "-f", d.cfg.SlurmConf)
	}
	argv = append(argv, "-s", "slurmctld,slurmdbd")
	if v := d.cfg.APIVersion; v != "" {
		argv = append(argv, "-d", v)
	}
	argv = append(argv, "-a", "rest_auth/local", "unix:"+d.socket)
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // the operator's configuration; attend ends it
	cmd.Dir = "/"                             // slurmrestd's own folder is a job's default
	cmd.Env = []string{"PATH=" + d.cfg.Path}
	if d.cfg.SlurmConf != "" {
		cmd.Env = append(cmd.Env, "SLURM_CONF="+d.cfg.SlurmConf)
	}
	return cmd
}

// tail keeps the last lines that a program wrote.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - 2048; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
