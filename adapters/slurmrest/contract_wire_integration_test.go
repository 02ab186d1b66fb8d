//go:build integration

package slurmrest_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
)

// aside starts slurmrestd on a socket beside the one that it was told, where a
// proxy then listens.
const aside = `#!/bin/sh
n=$#
while [ $n -gt 0 ]; do
	a=$1
	shift
	case $a in unix:*) a=$a.real; rm -f "${a#unix:}" ;; esac
	set -- "$@" "$a"
	n=$((n - 1))
done
exec slurmrestd "$@"
`

// gibberish has a proxy between the adapter and slurmrestd say another word.
func gibberish(t *testing.T) (s agent.Scheduler, gibber, plain func()) {
	t.Helper()
	c := settings()
	c.Slurmrestd = filepath.Join(cluster.Site, filepath.Base(c.Dir)+".sh")
	require.NoError(t, os.WriteFile(c.Slurmrestd, []byte(aside), 0o755))
	s = open(t, c)
	socket := filepath.Join(c.Dir, uidOf(person), "rest")
	up := make(chan *faultproxy.Proxy, 1)
	end := make(chan struct{})
	go func() { // the adapter clears the place before slurmrestd is there
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				close(up)
				return
			case <-tick.C:
			}
			if _, err := os.Lstat(socket + ".real"); err != nil {
				continue
			}
			ln, err := becomeAndListen(cluster.Users[person], socket)
			if err != nil {
				t.Error(err)
				close(up)
				return
			}
			up <- faultproxy.Serve(t.Context(), ln, "unix", socket+".real", 1)
			return
		}
	}()
	var p *faultproxy.Proxy
	through := func() *faultproxy.Proxy {
		if p == nil {
			p = <-up
			require.NotNil(t, p, "the adapter went through the proxy")
		}
		return p
	}
	t.Cleanup(func() {
		close(end)
		if p == nil {
			p = <-up
		}
		if p != nil {
			require.NoError(t, p.Close())
		}
	})
	return s, func() { through().Say(`"RUNNING"`, `"FLOATED"`) }, func() { through().Unsay() }
}

// becomeAndListen listens on a unix socket as an account: the adapter speaks to the
// account's listener alone. The thread that became the account is thrown away.
func becomeAndListen(uid int, path string) (net.Listener, error) {
	type made struct {
		ln  net.Listener
		err error
	}
	out := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends with this goroutine
		if _, _, no := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); no != 0 {
			out <- made{err: errors.Join(errors.New("become the account"), no)}
			return
		}
		ln, err := net.Listen("unix", path)
		out <- made{ln, err}
	}()
	m := <-out
	return m.ln, m.err
}
