//go:build integration

package slurm_test

import (
	"bytes"
	"context"
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
	require.Equal(t, slurm.ClassRefused, e.Class())
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
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/slurm/"+slurm.Version+"/job/submit", r)
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
