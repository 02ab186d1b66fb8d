//go:build integration

package slurm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/slurm"
)

func TestRealAHungControllerIsAnOutageAndTheSubmissionUnknown(t *testing.T) { //nolint:paralleltest // it stops the controller that the others need
	c := client(t, socket)
	pid := daemonPID(t, "slurmctld")
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	resume := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	defer resume()
	_, err := c.Submit(t.Context(), small("true"))
	e := failure(t, err)
	require.Equal(t, slurm.ClassOutage, e.Class(), "%v", err)
	require.Equal(t, http.StatusGatewayTimeout, e.Status)
	require.Equal(t, 5004, e.Number)
	require.True(t, e.Unknown())
	resume()
	require.Eventually(t, func() bool { return c.Ping(t.Context()) == nil }, time.Minute, 100*time.Millisecond)
}

func TestRealAJobWithGPUsIsGrantedThemAndAccounted(t *testing.T) {
	t.Parallel()
	c := client(t, socket)
	r := small("sleep 1; exit 3")
	r.Name, r.Comment, r.GRES, r.Nodes, r.Tasks = "gpus", "order-1", "gres/gpu:h100:2", 2, 2
	s, err := c.Submit(t.Context(), r)
	require.NoError(t, err)
	j := until(t, c, s.ID, final)
	require.Equal(t, []slurm.JobState{slurm.StateFailed}, j.States)
	code, _ := j.Exit.Code.Value()
	require.Equal(t, int64(3), code)
	require.Equal(t, int64(4), j.Requested.GPUs("h100"))
	require.Equal(t, int64(4), j.Allocated.GPUs(""))
	require.Equal(t, "labuser1", j.User)
	require.Equal(t, "order-1", j.Comment)
	require.False(t, j.Requeue)
	var rs []slurm.DBJob
	require.Eventually(t, func() bool {
		rs, err = c.DBJobs(t.Context(), slurm.DBQuery{Users: []string{"labuser1"}, Names: []string{"gpus"}, Since: time.Now().Add(-time.Hour)})
		return err == nil && len(rs) == 1 && rs[0].States[0].Role() == slurm.RoleFinal
	}, 20*time.Second, 100*time.Millisecond)
	require.Equal(t, "order-1", rs[0].Comment)
	require.Equal(t, int64(4), rs[0].Allocated.GPUs("h100"))
	require.GreaterOrEqual(t, rs[0].Elapsed, time.Second)
	one, err := c.DBJob(t.Context(), s.ID)
	require.NoError(t, err)
	require.Len(t, one, 1)
	states, err := c.JobStates(t.Context())
	require.NoError(t, err)
	require.Contains(t, states, slurm.StateEntry{ID: s.ID, States: j.States})
}

func TestRealAFieldThatSlurmDropsCancelsTheJob(t *testing.T) {
	t.Parallel()
	c := through(t, func(b string) string { return strings.Replace(b, `"tres_per_node"`, `"gpus_per_node"`, 1) })
	r := small("sleep 60")
	r.GRES, r.Hold = "gres/gpu:h100:1", true
	_, err := c.Submit(t.Context(), r)
	e := failure(t, err)
	require.Equal(t, slurm.ClassRefused, e.Class(), "%v", err)
	require.False(t, e.Unknown())
	require.NotZero(t, e.Job)
	require.Equal(t, []slurm.JobState{slurm.StateCancelled}, until(t, client(t, socket), e.Job, final).States)
}

func TestRealAWrongTypeSubmitsNothing(t *testing.T) {
	t.Parallel()
	c := through(t, func(b string) string { return strings.Replace(b, `"tasks":1`, `"tasks":"two"`, 1) })
	_, err := c.Submit(t.Context(), small("true"))
	e := failure(t, err)
	require.Equal(t, slurm.ClassRefused, e.Class(), "%v", err)
	require.Zero(t, e.Job)
}

func TestRealRefusalsCarrySlurmsNumber(t *testing.T) {
	t.Parallel()
	c := client(t, socket)
	for number, change := range map[int]func(*slurm.Request){
		2000: func(r *slurm.Request) { r.Partition = "nowhere" },
		2045: func(r *slurm.Request) { r.Account = "nobody" },
		2066: func(r *slurm.Request) { r.QOS = "none" },
		2038: func(r *slurm.Request) { r.Dependency = "afterok:nonsense" },
		2014: func(r *slurm.Request) { r.GRES = "gres/gpu:h100:5" },
		2072: func(r *slurm.Request) { r.GRES = "gres/tpu:1" },
	} {
		r := small("true")
		change(&r)
		_, err := c.Submit(t.Context(), r)
		e := failure(t, err)
		require.Equal(t, number, e.Number, "%v", err)
		require.Equal(t, slurm.ClassRefused, e.Class())
		require.False(t, e.Unknown())
	}
}

func TestRealCancellationsAreJudgedByTheStatusArray(t *testing.T) {
	t.Parallel()
	mine, theirs := client(t, socket), client(t, otherSocket)
	r := small("sleep 60")
	r.Hold = true
	s, err := mine.Submit(t.Context(), r)
	require.NoError(t, err)
	require.NotEmpty(t, s.Warnings)
	j, err := theirs.Job(t.Context(), s.ID)
	require.NoError(t, err)
	require.True(t, j.Hold)
	e := failure(t, theirs.Cancel(t.Context(), s.ID))
	require.Equal(t, 2002, e.Number)
	require.Equal(t, slurm.ClassForbidden, e.Class())
	require.NoError(t, mine.Cancel(t.Context(), s.ID))
	until(t, mine, s.ID, final)
	require.Equal(t, slurm.ClassFinished, failure(t, mine.Cancel(t.Context(), s.ID)).Class())
	require.Equal(t, slurm.ClassNotFound, failure(t, mine.Cancel(t.Context(), 4000000)).Class())
}

func TestRealUnknownJobs(t *testing.T) {
	t.Parallel()
	c := client(t, socket)
	_, err := c.Job(t.Context(), 4000000)
	e := failure(t, err)
	require.Equal(t, slurm.ClassNotFound, e.Class())
	require.Equal(t, http.StatusNotFound, e.Status)
	rs, err := c.DBJob(t.Context(), 4000000)
	require.NoError(t, err)
	require.Empty(t, rs)
}

func TestRealSignalsEndJobsAsTheySay(t *testing.T) {
	t.Parallel()
	c := client(t, socket)
	s, err := c.Submit(t.Context(), small("kill -9 $$"))
	require.NoError(t, err)
	j := until(t, c, s.ID, final)
	require.Equal(t, "RaisedSignal", j.Reason)
	n, ok := j.Exit.Signal.Value()
	require.True(t, ok)
	require.Equal(t, int64(9), n)

	s, err = c.Submit(t.Context(), small("trap 'exit 0' USR1; while :; do sleep 0.1; done"))
	require.NoError(t, err)
	until(t, c, s.ID, func(j slurm.Job) bool { return j.States[0] == slurm.StateRunning })
	require.Eventually(t, func() bool {
		_ = c.Signal(t.Context(), s.ID, "USR1") // until the trap is set, the script may still be starting
		j, err = c.Job(t.Context(), s.ID)
		return err == nil && final(j)
	}, 30*time.Second, 500*time.Millisecond)
}

func TestRealALimitOverThePartitionsIsAcceptedAndPendsForEver(t *testing.T) {
	t.Parallel()
	c := client(t, socket)
	r := small("true")
	r.TimeLimit = 48 * time.Hour
	s, err := c.Submit(t.Context(), r)
	require.NoError(t, err)
	until(t, c, s.ID, func(j slurm.Job) bool { return j.Reason == "PartitionTimeLimit" })
	require.NoError(t, c.Cancel(t.Context(), s.ID))
}

func TestRealTokens(t *testing.T) {
	t.Parallel()
	out, err := cluster.Command(t.Context(), "root", "scontrol", "token", "username=labuser1", "lifespan=600").Output()
	require.NoError(t, err)
	good := strings.TrimPrefix(strings.TrimSpace(string(out)), "SLURM_JWT=")
	for token, class := range map[string]slurm.Class{good: "", good[:len(good)-4] + "AAAA": slurm.ClassAuth, "": slurm.ClassAuth} {
		c, err := slurm.New(slurm.Config{Socket: tokenSocket, User: "labuser1", Token: func(context.Context) (string, error) { return token, nil }})
		require.NoError(t, err)
		r := small("true")
		r.Hold = true
		s, err := c.Submit(t.Context(), r)
		if class == "" {
			require.NoError(t, err)
			require.NoError(t, c.Cancel(t.Context(), s.ID))
			continue
		}
		e := failure(t, err)
		require.Equal(t, class, e.Class(), "%v", err)
		require.False(t, e.Unknown())
	}
}

func TestRealRequestsThatTheClientNeverSends(t *testing.T) {
	t.Parallel()
	body, err := small("true").Body()
	require.NoError(t, err)
	tr := unixTransport(socket)
	tr.DisableKeepAlives = true // a broken answer leaves its rest behind
	h := &http.Client{Transport: tr}
	post := func(r io.Reader, kind string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/slurm/"+slurm.Versions()[3]+"/job/submit", r)
		require.NoError(t, err)
		if kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		resp, err := h.Do(req)
		if err != nil {
			return 0 // it answers twice in one, which is no HTTP, and closes
		}
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Contains(t, []int{0, http.StatusNotAcceptable}, post(io.MultiReader(bytes.NewReader(body)), "application/json"), "chunked")
	require.Contains(t, []int{0, http.StatusBadRequest}, post(bytes.NewReader(body), ""), "no content type")
	require.Contains(t, []int{http.StatusBadRequest, http.StatusInternalServerError}, post(strings.NewReader(`{"job":`), "application/json"), "malformed")
}

func TestRealAStrangersConnectionIsRefused(t *testing.T) {
	t.Parallel()
	// The socket is made 0777: within a folder that lets them in, other accounts
	// reach it, and slurmrestd then answers 401.
	link := cluster.Dir + "/run/open"
	require.NoError(t, exec.CommandContext(t.Context(), "install", "-d", "-m", "711", link).Run())
	cmd := cluster.Command(t.Context(), "labuser1", "slurmrestd", "-a", "rest_auth/local", "unix:"+cluster.Dir+"/home/labuser1/open")
	cmd.Dir = "/"
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	require.NoError(t, listening(t.Context(), cluster.Dir+"/home/labuser1/open"))
	require.NoError(t, syscall.Link(cluster.Dir+"/home/labuser1/open", link+"/rest"))
	out, err := cluster.Command(t.Context(), "labuser2", "perl", "-MIO::Socket::UNIX", "-e",
		`my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; print $s "GET /slurm/v0.0.42/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"; my $l = <$s>; print $l`,
		link+"/rest").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), " 401 ")
}

// TestRealEveryVersionThatIsOfferedDoesTheSame submits, lists, reads, cancels and
// accounts jobs through each version, on one daemon.
func TestRealEveryVersionThatIsOfferedDoesTheSame(t *testing.T) {
	t.Parallel()
	agreed := client(t, socket)
	require.NoError(t, agreed.Ping(t.Context()))
	offered, err := agreed.Offered(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(offered), 3, "%v", offered)
	require.Equal(t, offered[0], agreed.Version(), "the newest of them is spoken")
	for _, v := range offered {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			oneVersion(t, v)
		})
	}
}

func oneVersion(t *testing.T, version string) {
	t.Helper()
	pin := func(path string) *slurm.Client {
		c, err := slurm.New(slurm.Config{Socket: path, Version: version})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	c := pin(socket)
	require.NoError(t, c.Ping(t.Context()))

	r := small("sleep 1; exit 3")
	r.Name, r.Comment, r.GRES, r.Nodes, r.Tasks = "all-"+version[5:], "order-1", "gres/gpu:h100:2", 2, 2
	done, err := c.Submit(t.Context(), r)
	require.NoError(t, err)
	require.Empty(t, done.Warnings)
	held := small("sleep 60")
	held.Hold = true
	waits, err := c.Submit(t.Context(), held)
	require.NoError(t, err)

	// another account's cancellation is refused, and says so
	require.Equal(t, slurm.ClassForbidden, failure(t, pin(otherSocket).Cancel(t.Context(), waits.ID)).Class())
	j, err := c.Job(t.Context(), waits.ID)
	require.NoError(t, err)
	require.True(t, j.Hold)
	require.Equal(t, []slurm.JobState{slurm.StatePending}, j.States)
	require.NoError(t, c.Cancel(t.Context(), waits.ID))
	until(t, c, waits.ID, final)
	require.Equal(t, slurm.ClassFinished, failure(t, c.Cancel(t.Context(), waits.ID)).Class())
	require.Equal(t, slurm.ClassNotFound, failure(t, c.Cancel(t.Context(), 4000000)).Class())

	j = until(t, c, done.ID, final)
	code, _ := j.Exit.Code.Value()
	require.Equal(t, int64(3), code)
	require.Equal(t, int64(4), j.Requested.GPUs("h100"))
	require.Equal(t, int64(4), j.Allocated.GPUs(""))
	limit, ok := j.TimeLimit.Value()
	require.True(t, ok)
	require.Equal(t, int64(1), limit)
	require.False(t, j.Requeue)
	states, err := c.JobStates(t.Context())
	require.NoError(t, err)
	require.Contains(t, states, slurm.StateEntry{ID: done.ID, States: j.States})
	list, err := c.Jobs(t.Context(), func(j *slurm.Job) bool { return j.ID == done.ID })
	require.NoError(t, err)
	require.Equal(t, []slurm.Job{j}, list)
	var rs []slurm.DBJob
	require.Eventually(t, func() bool {
		rs, err = c.DBJobs(t.Context(), slurm.DBQuery{Users: []string{"labuser1"}, Names: []string{r.Name}, Since: time.Now().Add(-time.Hour)})
		return err == nil && len(rs) == 1 && rs[0].States[0].Role() == slurm.RoleFinal
	}, time.Minute, 100*time.Millisecond)
	require.Equal(t, "order-1", rs[0].Comment)
	require.Equal(t, int64(4), rs[0].Allocated.GPUs("h100"))
	require.GreaterOrEqual(t, rs[0].Elapsed, time.Second)
	one, err := c.DBJob(t.Context(), done.ID)
	require.NoError(t, err)
	require.Equal(t, rs, one)

	ps, err := c.Partitions(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"boost", "debug"}, ps)
	reservations, err := c.Reservations(t.Context())
	require.NoError(t, err)
	require.Empty(t, reservations)
	_, err = c.Features(t.Context())
	require.NoError(t, err)
	as, err := c.Associations(t.Context(), "labuser1")
	require.NoError(t, err)
	require.Contains(t, as, slurm.Association{Account: "site", QOS: []string{"normal", "urgent"}})

	for number, change := range map[int]func(*slurm.Request){
		2000: func(r *slurm.Request) { r.Partition = "nowhere" },
		2014: func(r *slurm.Request) { r.GRES = "gres/gpu:h100:5" },
	} {
		r := small("true")
		change(&r)
		_, err := c.Submit(t.Context(), r)
		require.Equal(t, number, failure(t, err).Number, "%v", err)
		require.Equal(t, slurm.ClassRefused, failure(t, err).Class())
	}
}

// TestRealABadTokenIsNeitherAnOutageNorForbidden tells, at every endpoint, what
// is wrong with a token, and an outage of the database from that.
func TestRealABadTokenIsNeitherAnOutageNorForbidden(t *testing.T) {
	t.Parallel()
	mint := func(lifespan string) string {
		out, err := cluster.Command(t.Context(), "root", "scontrol", "token", "username=labuser1", "lifespan="+lifespan).Output()
		require.NoError(t, err)
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "SLURM_JWT=")
	}
	good, brief := mint("600"), mint("1")
	with := func(token, version string) *slurm.Client {
		c, err := slurm.New(slurm.Config{
			Socket: tokenSocket, User: "labuser1", Version: version, Token: func(context.Context) (string, error) { return token, nil },
		})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	require.Eventually(t, func() bool { // until the brief one has expired
		_, err := with(brief, "").Job(t.Context(), 4000000)
		e, ok := errors.AsType[*slurm.Error](err)
		return ok && e.Class() == slurm.ClassAuth
	}, time.Minute, 200*time.Millisecond)
	offered, err := with(good, "").Offered(t.Context())
	require.NoError(t, err)
	for _, v := range offered {
		for name, token := range map[string]string{"expired": brief, "invalid": good[:len(good)-4] + "AAAA"} {
			c := with(token, v)
			_, err := c.Submit(t.Context(), small("true"))
			require.Equal(t, slurm.ClassAuth, failure(t, err).Class(), "%s %s submit: %v", v, name, err)
			require.False(t, failure(t, err).Unknown())
			_, err = c.JobStates(t.Context())
			require.Equal(t, slurm.ClassAuth, failure(t, err).Class(), "%s %s list: %v", v, name, err)
			_, err = c.DBJob(t.Context(), 4000000)
			require.Equal(t, slurm.ClassAuth, failure(t, err).Class(), "%s %s database: %v", v, name, err)
			require.Equal(t, slurm.ClassAuth, failure(t, c.Cancel(t.Context(), 4000000)).Class(), "%s %s cancel", v, name)
		}
		_, err = with(good, v).DBJob(t.Context(), 4000000)
		require.NoError(t, err, "%s", v)
	}
}
