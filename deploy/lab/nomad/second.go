package nomadlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"
)

// SecondPool is the node pool of the second node, where nothing goes that does
// not ask for it.
const SecondPool = "second"

// SecondNode starts another node with one GPU and returns what kills its agent,
// not its tasks, as when the network to a node breaks. It is started once.
func (l *Lab) SecondNode(ctx context.Context) (kill func() error, err error) {
	inside := children(l.init.Process.Pid)
	if len(inside) != 1 {
		return nil, errors.New("nomadlab: the namespaces ended")
	}
	ports, err := freePorts(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := l.API.NodePools().Register(&api.NodePool{Name: SecondPool}, (&api.WriteOptions{}).WithContext(ctx)); err != nil {
		return nil, fmt.Errorf("make a node pool: %w", err)
	}
	path := filepath.Join(l.Dir, "second.hcl")
	if err := os.WriteFile(path, []byte(l.secondConfig(ports)), 0o600); err != nil {
		return nil, fmt.Errorf("write the second node's configuration: %w", err)
	}
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(inside[0]), "--mount", "--pid", "env", "-i", "PATH=/usr/bin:/bin", //nolint:gosec,noctx // it ends with the namespaces
		filepath.Join(l.bin, "nomad"), "agent", "-config", path)
	out, err := os.Create(filepath.Join(l.Dir, "second.log"))
	if err != nil {
		return nil, fmt.Errorf("start the second node: %w", err)
	}
	defer out.Close() //nolint:errcheck // the agent has its own
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the second node: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := l.until(wait, "second node ready", func() error {
		if l.healthy(wait, "second") != 1 {
			return errors.New("no GPU yet")
		}
		return nil
	}); err != nil {
		said, _ := os.ReadFile(out.Name())
		return nil, fmt.Errorf("%w; the agent says: %s", err, said[max(0, len(said)-2000):])
	}
	return func() error { return killNamed(path) }, nil
}

// killNamed kills the agents whose command line names a configuration file of
// this lab.
func killNamed(path string) error {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return fmt.Errorf("find the agent: %w", err)
	}
	var errs []error
	for _, p := range all {
		b, err := os.ReadFile(p) //nolint:gosec // below /proc
		if err != nil || !bytes.HasSuffix(b, []byte("\x00agent\x00-config\x00"+path+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
