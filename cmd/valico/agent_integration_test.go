//go:build integration

package main_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// remote is a broker and the agent of one remote site.
type remote struct {
	*brokertest.Remote
	t *testing.T
}

// newRemote prepares a remote site on the local scheduler, or on the lab. The
// broker has a local site too.
func newRemote(t *testing.T, cluster *demo.SlurmLab) *remote {
	t.Helper()
	b := brokertest.New(t)
	r := &remote{Remote: brokertest.NewRemote(b, cluster), t: t}
	local, err := demo.LocalSite()
	require.NoError(t, err)
	data := filepath.Join(r.Public, "cohort")
	if cluster != nil {
		var c app.Config
		_, data, err = cluster.Site(&c)
		require.NoError(t, err)
	}
	b.Configure(func(c *app.Config) { c.Exec = filepath.Join(r.Bin, "valico-exec") })
	b.Prepare(local, data, 1)
	r.Enrol(1)
	return r
}

func (r *remote) submit(key, args string) wire.Job {
	r.t.Helper()
	j, err := r.Submit(r.t.Context(), brokertest.Job{Permit: r.Permit, Site: r.Site, Args: args}, key)
	require.NoError(r.t, err, "%s", r.Log())
	return j
}

// until waits until the job is as wanted.
func (r *remote) until(id string, want func(wire.Job) bool) wire.Job {
	r.t.Helper()
	var job wire.Job
	require.Eventually(r.t, func() bool {
		got, err := r.World.Client(demo.Developer).Job(r.t.Context(), id)
		if err == nil {
			job = got
		}
		return err == nil && want(got)
	}, 2*time.Minute, 50*time.Millisecond)
	return job
}

func attemptIs(state string) func(wire.Job) bool {
	return func(j wire.Job) bool { return len(j.Attempts) == 1 && j.Attempts[0].State == state }
}

func over(j wire.Job) bool { return broker.JobState(j.State).Terminal() }

// quarantined reads what a worker left.
func (r *remote) quarantined(attempt, name string) string {
	b, err := os.ReadFile(filepath.Join(r.Place, "quarantine", attempt, "out", name))
	require.NoError(r.t, err, "%s", r.AgentLog())
	return string(b)
}

func TestARemoteSitesJobLivesThroughACutLinkARestartedBrokerAndAKilledAgent(t *testing.T) {
	t.Parallel()
	newRemote(t, nil).livesThrough()
}

func TestARemoteSlurmSitesJobLivesThroughTheSame(t *testing.T) {
	t.Parallel()
	l := slurmLab(t)
	newRemote(t, &demo.SlurmLab{Lab: l, Exec: filepath.Join(brokertest.Programs(t), "valico-exec"), Folder: "remote"}).livesThrough()
}

// livesThrough submits a job, takes everything but scheduler and node away while
// it runs, and finds the truth afterwards.
func (r *remote) livesThrough() {
	t := r.t
	t.Helper()
	r.StartAgent()
	job := r.submit("long", `, "-work", "15s"`)
	job = r.until(job.ID, func(j wire.Job) bool { return over(j) || attemptIs("running")(j) })
	require.False(t, over(job), "%+v\n%s", job, r.AgentLog())
	check, err := r.World.Client(demo.OperatorID).CheckSite(t.Context(), r.Site.Name)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(check.Checks, func(c wire.Check) bool {
		return c.Name == "agent" && c.OK && strings.HasPrefix(c.Found, "remote")
	}), "%+v", check)
	requireNoListener(t, r.Agent.Process.Pid)

	r.Link.Cut()
	r.EndAgent(syscall.SIGKILL)
	r.StartAgent()
	r.Kill()
	r.Revive() // the broker and the NATS server in it
	r.Link.Heal()
	job = r.until(job.ID, over)
	require.Equal(t, "succeeded", job.State, "%+v\n%s\n%s", job, r.Log(), r.AgentLog())
	require.Len(t, job.Attempts, 1)
	require.Equal(t, "start\n", r.quarantined(job.Attempts[0].ID, "starts"), "P4: one execution")
	require.Equal(t, "end\n", r.quarantined(job.Attempts[0].ID, "ends"))
	r.telemetryIsWhole(job)
	r.released(job)
}

// telemetryIsWhole waits for the site's events and finds each once, in order.
func (r *remote) telemetryIsWhole(job wire.Job) {
	r.t.Helper()
	var names []string
	want := []string{"order_accepted", "started", "ended", "outputs_sealed"}
	require.Eventually(r.t, func() bool {
		names = nil
		all, err := r.World.Client(demo.Developer).Events(r.t.Context(), job.ID, 0)
		for _, e := range all.Events {
			if slices.Contains(want, e.Name) {
				names = append(names, e.Name)
			}
		}
		return err == nil && len(names) >= len(want)
	}, time.Minute, 100*time.Millisecond, "%v", names)
	require.Equal(r.t, want, names, "P9: each once, in order")
}

// released lets an output leave over the link.
func (r *remote) released(job wire.Job) {
	r.t.Helper()
	ctx := r.t.Context()
	outs, err := r.World.Client(demo.Reviewer).Outputs(ctx, job.ID)
	require.NoError(r.t, err)
	require.Len(r.t, outs.Outputs, 1)
	o := outs.Outputs[0]
	_, err = r.World.Client(demo.Developer).Fetch(ctx, job.ID, "starts", "")
	require.Equal(r.t, broker.KindNotFound, broker.KindOf(err), "what is not released does not exist")
	env, err := r.World.Authority.SignRelease(broker.AttemptID(o.Attempt), broker.Digest(o.Manifest), time.Now())
	require.NoError(r.t, err)
	_, err = r.World.Client(demo.Reviewer).Release(ctx, job.ID, env)
	require.NoError(r.t, err)
	i := slices.IndexFunc(o.Files, func(f wire.OutputFile) bool { return f.Path == "starts" })
	require.GreaterOrEqual(r.t, i, 0)
	f, err := r.World.Client(demo.Developer).Fetch(ctx, job.ID, "starts", broker.Digest(o.Files[i].Digest))
	require.NoError(r.t, err)
	b, err := io.ReadAll(f)
	require.NoError(r.t, err)
	require.NoError(r.t, f.Close())
	require.Equal(r.t, "start\n", string(b))
}

// requireNoListener looks at the sockets of a process: none takes connections.
func requireNoListener(t *testing.T, pid int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	fds, err := os.ReadDir(dir + "/fd")
	require.NoError(t, err)
	mine := map[string]bool{}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	require.NotEmpty(t, mine, "it is connected")
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(dir + "/net/" + table)
		require.NoError(t, err)
		for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			f := strings.Fields(line)
			if i == 0 || len(f) < 10 || !mine[f[9]] {
				continue
			}
			const listening, unconnected = "0A", "07"
			require.NotContains(t, []string{listening, unconnected}, f[3], "%s %s", table, line)
		}
	}
}
