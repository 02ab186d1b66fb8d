//go:build integration

package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
)

// sshd starts Debian's sshd on loopback with keys of its own, for the agent's
// account alone, and returns what the person's ssh needs to reach it.
func sshd(t *testing.T, r *remote) (args []string, host string) {
	t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = "/usr/sbin/sshd" // Debian's place, which is on root's PATH alone
	}
	require.FileExists(t, program, "deploy/lab/deps installs it")
	if os.Geteuid() == 0 {
		require.NoError(t, os.MkdirAll("/run/sshd", 0o755))
	}
	dir := filepath.Join(r.Public, "ssh")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, name := range []string{"host", "person"} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", filepath.Join(dir, name)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	public, err := os.ReadFile(filepath.Join(dir, "person.pub"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "authorized"), public, 0o644))
	_, port, err := net.SplitHostPort(brokertest.FreeAddress(t))
	require.NoError(t, err)
	key, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "known"), []byte("[127.0.0.1]:"+port+" "+string(key)), 0o600))
	conf := filepath.Join(dir, "sshd_config")
	require.NoError(t, os.WriteFile(conf, []byte(strings.Join([]string{
		"ListenAddress 127.0.0.1:" + port, "HostKey " + filepath.Join(dir, "host"), "AuthorizedKeysFile " + filepath.Join(dir, "authorized"),
		"PidFile none", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "AllowUsers " + r.Who.Username,
		"UsePAM " + map[bool]string{true: "yes", false: "no"}[os.Geteuid() == 0], "PrintMotd no", "",
	}, "\n")), 0o600))
	log, err := os.Create(filepath.Join(r.Dir, "sshd.log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = log.Close() })
	c := exec.Command(program, "-D", "-e", "-f", conf)
	c.Stderr = log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, c.Start())
	t.Cleanup(func() { _, _ = c.Process.Signal(syscall.SIGTERM), c.Wait() })
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil && conn.Close() == nil
	}, time.Minute, 50*time.Millisecond)
	return []string{
		"-F", "none", "-p", port, "-i", filepath.Join(dir, "person"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + filepath.Join(dir, "known"),
	}, r.Who.Username + "@127.0.0.1"
}

// connect runs valico connect as the person, on the person's machine.
func (r *remote) connect(sshArgs []string, host string) {
	r.t.Helper()
	require.Nil(r.t, r.Agent)
	args := []string{
		"connect", host, "--broker", "https://" + r.Link.Addr(), "--remote", filepath.Join(r.Bin, "valico"), "--config", r.Etc("agent.yaml"),
	}
	for _, a := range sshArgs {
		args = append(args, "--ssh-arg="+a)
	}
	c := exec.Command(filepath.Join(r.Bin, "valico"), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(filepath.Join(r.Dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(r.t, err)
	defer log.Close() //nolint:errcheck // the child has its own copy
	c.Stdout, c.Stderr = log, log
	require.NoError(r.t, c.Start())
	r.Agent = c
}

func TestASiteWhereNothingMayRunIsReachedOverAPersonsOwnSSH(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	args, host := sshd(t, r)
	r.connect(args, host)
	job := r.submit("ssh", `, "-work", "10s"`)
	job = r.until(job.ID, attemptIsOrOver("running"))
	require.False(t, over(job), "%+v\n%s\n%s", job, r.Log(), r.AgentLog())

	// The session ends, the job does not; the next session takes it up.
	pid := agentOf(t, r)
	r.EndAgent(syscall.SIGINT)
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, time.Minute, 50*time.Millisecond, "the agent ends with its session")
	r.connect(args, host)
	job = r.until(job.ID, over)
	require.Equal(t, "succeeded", job.State, "%+v\n%s", job, r.AgentLog())
	require.Equal(t, "start\n", r.quarantined(job.Attempts[0].ID, "starts"))
	r.telemetryIsWhole(job)
}

func attemptIsOrOver(state string) func(j wire.Job) bool {
	return func(j wire.Job) bool { return over(j) || attemptIs(state)(j) }
}

// agentOf finds the agent's process at the site by what it was started with,

func agentOf(t *testing.T, r *remote) int {
	t.Helper()
	found := 0
	all, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, p := range all {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
		want := filepath.Join(r.Bin, "valico") + "\x00agent\x00--stdio\x00"
		if strings.HasPrefix(string(argv), want) {
			found = pid
		}
	}
	require.NotZero(t, found, "%s", r.AgentLog())
	return found
}
