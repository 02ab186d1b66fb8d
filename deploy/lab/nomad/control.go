package nomadlab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/api"
)

// prepare waits for the agent, takes its management token, makes the namespaces
// and waits for the node.
func (l *Lab) prepare(ctx context.Context) error {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	l.Secret = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	anon, err := api.NewClient(&api.Config{Address: l.Address})
	if err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	if l.API, err = api.NewClient(&api.Config{Address: l.Address, SecretID: l.Secret}); err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	if err := l.until(ctx, "ACL bootstrap", func() error {
		_, _, err := anon.ACLTokens().BootstrapOpts(l.Secret, (&api.WriteOptions{}).WithContext(ctx))
		if err != nil && strings.Contains(err.Error(), "already done") {
			return nil
		}
		return err //nolint:wrapcheck // until names it
	}); err != nil {
		return err
	}
	for _, name := range append([]string{l.Namespace, Stranger}, l.Tenants...) {
		if err := l.until(ctx, "namespace", func() error {
			_, err := l.API.Namespaces().Register(&api.Namespace{Name: name}, (&api.WriteOptions{}).WithContext(ctx))
			return err //nolint:wrapcheck // until names it
		}); err != nil {
			return err
		}
	}
	return l.Ready(ctx)
}

// Ready waits until the one node is ready and all its GPUs are healthy.
func (l *Lab) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	return l.until(ctx, "node ready", func() error {
		if n := l.Healthy(ctx); n != l.GPUs {
			return fmt.Errorf("%d of %d GPUs", n, l.GPUs)
		}
		return nil
	})
}

// Healthy is how many healthy GPUs Nomad sees on its ready node, -1 when it does
// not answer or the node is not ready.
func (l *Lab) Healthy(ctx context.Context) int { return l.healthy(ctx, "lab") }

func (l *Lab) healthy(ctx context.Context, node string) int {
	q := func() *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }
	all, _, err := l.API.Nodes().List(q())
	if err != nil {
		return -1
	}
	for _, stub := range all {
		if stub.Name != node || stub.Status != "ready" {
			continue
		}
		n, _, err := l.API.Nodes().Info(stub.ID, q())
		if err != nil || n.NodeResources == nil {
			return -1
		}
		healthy := 0
		for _, d := range n.NodeResources.Devices {
			for _, one := range d.Instances {
				if one.Healthy {
					healthy++
				}
			}
		}
		return healthy
	}
	return -1
}

// until asks again until it works or ctx ends.
func (l *Lab) until(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nomadlab: %s: %w", what, err)
		case <-l.ended:
			return fmt.Errorf("nomadlab: %s: the namespaces ended: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Token makes a token that may submit and read jobs of a namespace, and no more,
// for a time; 0 for as long as the lab lives.
func (l *Lab) Token(ctx context.Context, namespace string, ttl time.Duration) (string, error) {
	w := func() *api.WriteOptions { return (&api.WriteOptions{}).WithContext(ctx) }
	policy := "jobs-" + namespace
	rules := fmt.Sprintf("namespace %q {\n  capabilities = [\"submit-job\", \"read-job\", \"list-jobs\"]\n}\n", namespace)
	if _, err := l.API.ACLPolicies().Upsert(&api.ACLPolicy{Name: policy, Rules: rules}, w()); err != nil {
		return "", fmt.Errorf("make a policy: %w", err)
	}
	t, _, err := l.API.ACLTokens().Create(&api.ACLToken{Type: "client", Policies: []string{policy}, ExpirationTTL: ttl}, w())
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return t.SecretID, nil
}

// SiteToken makes a token as a site's agent has it: it may submit and read jobs of
// some namespaces, and read nodes and the agent, for a time; 0 for as long as the
// lab lives.
func (l *Lab) SiteToken(ctx context.Context, ttl time.Duration, namespaces ...string) (string, error) {
	w := func() *api.WriteOptions { return (&api.WriteOptions{}).WithContext(ctx) }
	var rules strings.Builder
	rules.WriteString("node { policy = \"read\" }\nagent { policy = \"read\" }\n")
	for _, ns := range namespaces {
		fmt.Fprintf(&rules, "namespace %q {\n  capabilities = [\"submit-job\", \"read-job\", \"list-jobs\"]\n}\n", ns)
	}
	policy := "site-" + strings.Join(namespaces, "-")
	if _, err := l.API.ACLPolicies().Upsert(&api.ACLPolicy{Name: policy, Rules: rules.String()}, w()); err != nil {
		return "", fmt.Errorf("make a policy: %w", err)
	}
	t, _, err := l.API.ACLTokens().Create(&api.ACLToken{Type: "client", Policies: []string{policy}, ExpirationTTL: ttl}, w())
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return t.SecretID, nil
}

// Unhealthy takes GPUs away, by number, and gives all others back; the agent
// sees it within a second or two.
func (l *Lab) Unhealthy(gpus ...int) error {
	ids := make([]string, 0, len(gpus))
	for _, n := range gpus {
		ids = append(ids, "emulated-"+strconv.Itoa(n))
	}
	path := filepath.Join(l.Dir, "unhealthy")
	if err := os.WriteFile(path+".new", []byte(strings.Join(ids, "\n")), 0o600); err != nil {
		return fmt.Errorf("mark GPUs: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("mark GPUs: %w", err)
	}
	return nil
}

// Down kills the agent, not its tasks, and keeps it down until Up.
func (l *Lab) Down() error {
	if err := os.WriteFile(filepath.Join(l.Dir, "down"), nil, 0o600); err != nil {
		return fmt.Errorf("keep the agent down: %w", err)
	}
	return l.signal(syscall.SIGKILL)
}

// Pause stops the agent as a hang does: its connections stay open and nothing
// answers, and its tasks go on. Resume lets it go on.
func (l *Lab) Pause() error { return l.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (l *Lab) Resume() error { return l.signal(syscall.SIGCONT) }

func (l *Lab) signal(s syscall.Signal) error {
	pid, err := l.agent()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("signal the agent: %w", err)
	}
	return nil
}

// Up lets the agent start again and waits for its node.
func (l *Lab) Up(ctx context.Context) error {
	if err := os.Remove(filepath.Join(l.Dir, "down")); err != nil {
		return fmt.Errorf("let the agent up: %w", err)
	}
	return l.Ready(ctx)
}

// agent finds the agent's process: the child of the namespaces' first process
// that runs its command.
func (l *Lab) agent() (int, error) {
	for _, parent := range append(children(l.init.Process.Pid), l.init.Process.Pid) {
		for _, pid := range children(parent) {
			b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
			if err == nil && strings.HasPrefix(string(b), filepath.Join(l.bin, "nomad")+"\x00agent\x00") {
				return pid, nil
			}
		}
	}
	return 0, errors.New("nomadlab: the agent is not running")
}

func children(pid int) []int {
	p := strconv.Itoa(pid)
	b, _ := os.ReadFile(filepath.Join("/proc", p, "task", p, "children")) //nolint:gosec // a number
	var out []int
	for f := range strings.FieldsSeq(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
		}
	}
	return out
}
