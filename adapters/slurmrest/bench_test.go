package slurmrest_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/slurmrest"
	"github.com/valico-hpc/valico/broker"
)

// scripted answers as a slurmrestd whose cluster holds n running jobs, and
// counts what it says.
type scripted struct {
	jobs            []broker.Launch
	states          []byte
	requests, bytes atomic.Int64
}

func newScripted(account string, n int) *scripted {
	s := &scripted{}
	var b strings.Builder
	b.WriteString(`{"jobs":[`)
	for i := range n {
		name := "tick" + strconv.Itoa(i)
		s.jobs = append(s.jobs, broker.Launch{
			Name: name, Account: account, OrderDigest: broker.DigestOf([]byte(name)), Dir: "/tmp", Argv: []string{"/bin/true"},
			Resources: broker.Resources{Nodes: 1, Walltime: time.Minute},
		})
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"job_id":"%d","state":["RUNNING"]}`, i+1)
	}
	b.WriteString(`],"errors":[],"warnings":[]}`)
	s.states = []byte(b.String())
	return s
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	say := func(b []byte) {
		n, _ := w.Write(b)
		s.bytes.Add(int64(n))
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/slurm"), "/v0.0.42/")
	switch {
	case !strings.Contains(r.URL.Path, "/v0.0.42/"):
		http.NotFound(w, r)
	case path == "ping":
		say([]byte(`{"pings":[{"responding":true}]}`))
	case path == "jobs/state":
		say(s.states)
	case strings.HasPrefix(r.URL.Path, "/slurmdb/"):
		say([]byte(`{"jobs":[]}`))
	case path == "jobs":
		say([]byte(`{"jobs":[`))
		for i := range s.jobs {
			if i > 0 {
				say([]byte(","))
			}
			say(s.job(i))
		}
		say([]byte(`]}`))
	default:
		i, _ := strconv.Atoi(strings.TrimPrefix(path, "job/"))
		say([]byte(`{"jobs":[` + string(s.job(i-1)) + `]}`))
	}
}

func (s *scripted) job(i int) []byte {
	l := s.jobs[i]
	return fmt.Appendf(nil, `{"job_id":%d,"name":%q,"user_name":"x","user_id":%d,"comment":%q,"job_state":["RUNNING"],
		"start_time":{"set":true,"infinite":false,"number":1795500000},"tres_req_str":"cpu=1","tres_alloc_str":"cpu=1"}`,
		i+1, l.Name, tickUID(), l.OrderDigest)
}

// listenAs listens on a unix socket whose peers see uid: what they see is the
// thread that listened.
func listenAs(b *testing.B, uid int, path string) net.Listener {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const same = ^uintptr(0)
	as := func(uid int) {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same) // of this thread alone
		require.Zero(b, errno)
	}
	if os.Geteuid() == 0 {
		as(uid)
		defer as(0)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(b, err)
	require.NoError(b, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	require.NoError(b, syscall.Listen(fd, 64))
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }()
	ln, err := net.FileListener(f)
	require.NoError(b, err)
	return ln
}

// tickScheduler is a scheduler whose slurmrestd is the scripted one: the program
// that it starts links that socket.
func tickScheduler(b *testing.B, h *scripted) *slurmrest.Scheduler {
	b.Helper()
	uid, gid := tickUID(), os.Getegid()
	if gid == 0 {
		gid = uid
	}
	dir, err := os.MkdirTemp("", "sr") //nolint:usetesting // short, for a socket, and passable for another account
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	require.NoError(b, os.Chmod(dir, 0o711))
	own := filepath.Join(dir, "own")
	require.NoError(b, os.Mkdir(own, 0o700))
	require.NoError(b, os.Chown(own, uid, gid))
	ln := listenAs(b, uid, filepath.Join(own, "l"))
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	exe := filepath.Join(dir, "slurmrestd")
	script := "#!/bin/sh\nfor a; do :; done\nln -s '" + filepath.Join(own, "l") + "' \"${a#unix:}\"\nexec sleep 600\n"
	require.NoError(b, os.WriteFile(exe, []byte(script), 0o755))
	s, err := slurmrest.New(slurmrest.Config{Dir: filepath.Join(dir, "s"), Accounts: []string{"x"}, Slurmrestd: exe, Lookup: who(uid, gid)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// tickUID is the account of the scripted slurmrestd.
func tickUID() int {
	if uid := os.Geteuid(); uid != 0 {
		return uid
	}
	return 65000
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTick is what one look at running jobs costs, with what answers it (the
// scripted slurmrestd is in this process, and its CPU counts), at three sizes of the
// cluster: the requests must not grow with the jobs.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			h := newScripted("x", n)
			s := tickScheduler(b, h)
			sts, err := s.Watch(b.Context(), h.jobs)
			require.NoError(b, err)
			require.Len(b, sts, n)
			h.requests.Store(0)
			h.bytes.Store(0)
			began := cpu(b)
			ticks := 0
			for b.Loop() {
				if _, err := s.Watch(b.Context(), h.jobs); err != nil {
					b.Fatal(err)
				}
				ticks++
			}
			used := cpu(b) - began
			require.EqualValues(b, ticks, h.requests.Load(), "one list a tick, however many jobs")
			b.ReportMetric(float64(h.requests.Load())/float64(ticks), "requests/tick")
			b.ReportMetric(float64(h.bytes.Load())/float64(ticks), "bytes/tick")
			b.ReportMetric(used.Seconds()*1000/float64(ticks), "cpu-ms/tick")
		})
	}
}
