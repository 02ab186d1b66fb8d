//go:build integration

package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
)

// remoteName is the site whose agent is a process of its own.
const remoteName = "remote"

// remote is a broker and the agent of one remote site, with a link between them
// that can be cut.
type remote struct {
	*brokertest.Broker
	t      *testing.T
	public string // readable by the agent's account
	bin    string // copies of the programs there
	who    *user.User
	link   *faultproxy.Proxy
	listen string // where the broker takes agents
	dir    string // the site's
	slurm  *app.SlurmConfig
	site   wire.Site
	permit string
	proc   *exec.Cmd
}

// agentUser is the account that the agent runs as: ours, or the lab's when we
// are root, because an agent of a local site is never root.
func agentUser(t *testing.T) *user.User {
	t.Helper()
	u, err := user.Current()
	require.NoError(t, err)
	if u.Uid != "0" {
		return u
	}
	u, err = user.Lookup("labuser1")
	require.NoError(t, err, "deploy/lab makes it")
	return u
}

// newRemote prepares a remote site on the local scheduler, or on the lab.
func newRemote(t *testing.T, cluster *demo.SlurmLab) *remote {
	t.Helper()
	public, err := os.MkdirTemp("", "valico-remote-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(public, 0o755)) //nolint:gosec // another account reads it
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(public)) })
	r := &remote{Broker: brokertest.New(t), t: t, public: public, bin: filepath.Join(public, "bin"), dir: filepath.Join(public, "site")}
	t.Cleanup(func() { r.endAgent(syscall.SIGTERM) })
	programs := brokertest.Programs(t)
	require.NoError(t, os.Mkdir(r.bin, 0o755)) //nolint:gosec // another account reads it
	for _, name := range []string{"valico", "valico-exec"} {
		b, err := os.ReadFile(filepath.Join(programs, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(r.bin, name), b, 0o755)) //nolint:gosec // another account runs it
	}
	r.listen = freeAddress(t)
	r.link, err = faultproxy.Listen(t.Context(), "tcp", r.listen, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.link.Close()) })
	r.certificate()
	local, err := demo.LocalSite()
	require.NoError(t, err)
	data, far := filepath.Join(public, "cohort"), local
	if cluster == nil {
		r.who = agentUser(t)
		far.Accounts = map[string]string{string(demo.Developer): r.who.Username}
	} else {
		var c app.Config
		far, data, err = cluster.Site(&c)
		require.NoError(t, err)
		slurm := c.Slurm[far.Name]
		r.slurm, r.dir = &slurm, cluster.SiteDir()
		r.who, err = user.Current() // root, which alone can start slurmrestd as each person
		require.NoError(t, err)
	}
	r.Configure(func(c *app.Config) {
		c.Exec = filepath.Join(r.bin, "valico-exec")
		c.Agents = app.AgentsConfig{
			Listen: r.listen, Cert: filepath.Join(public, "broker.pem"), Key: filepath.Join(r.Dir, "broker.key"), URL: "https://" + r.link.Addr(),
		}
	})
	r.Prepare(local, data, 1)
	r.enrol(far)
	return r
}

// freeAddress is a port of loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // nothing was sent
	return l.Addr().String()
}

// certificate makes the broker's, which is its own root.
func (r *remote) certificate() {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(r.t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker of a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(r.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(r.t, err)
	for path, b := range map[string]*pem.Block{
		filepath.Join(r.public, "broker.pem"): {Type: "CERTIFICATE", Bytes: der},
		filepath.Join(r.Dir, "broker.key"):    {Type: "PRIVATE KEY", Bytes: secret},
	} {
		mode := os.FileMode(0o644)
		if b.Type == "PRIVATE KEY" {
			mode = 0o600
		}
		require.NoError(r.t, os.WriteFile(path, pem.EncodeToMemory(b), mode))
	}
}

func (r *remote) etc(elem ...string) string {
	return filepath.Join(append([]string{r.public, "etc"}, elem...)...)
}

// valico runs the command as the agent's account.
func (r *remote) valico(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(r.bin, "valico"), args...) //nolint:gosec,noctx // our own program; the test ends it
	c.Env = []string{"HOME=" + r.public, "PATH=" + r.bin + ":" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if strconv.Itoa(os.Geteuid()) != r.who.Uid {
		uid, _ := strconv.ParseUint(r.who.Uid, 10, 32)
		gid, _ := strconv.ParseUint(r.who.Gid, 10, 32)
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return c
}

// enrol does what two operators do, with the commands that they use.
func (r *remote) enrol(site wire.Site) {
	r.t.Helper()
	uid, err := strconv.Atoi(r.who.Uid)
	require.NoError(r.t, err)
	for _, dir := range []string{r.etc(), r.dir} {
		require.NoError(r.t, os.MkdirAll(dir, 0o755)) //nolint:gosec // the agent's
		require.NoError(r.t, os.Chown(dir, uid, -1))
	}
	out, err := r.valico("agent", "init", "--name", remoteName, "--dir", r.etc(), "--site-dir", r.dir).CombinedOutput()
	require.NoError(r.t, err, "%s", out)
	b, err := os.ReadFile(r.etc("enrolment.json"))
	require.NoError(r.t, err)
	var keys wire.AgentKeys
	require.NoError(r.t, json.Unmarshal(b, &keys))

	ctx, op := r.t.Context(), r.World.Client(demo.OperatorID)
	site.Name, site.Isolation, site.Datasets = remoteName, r.World.Site.Isolation, r.World.Site.Datasets
	r.site, err = op.AddSite(ctx, wire.SiteAdd{Site: site, GPUHours: 1, Days: 10, Agent: &keys})
	require.NoError(r.t, err)
	sa, err := op.SiteAgent(ctx, remoteName)
	require.NoError(r.t, err)
	require.Equal(r.t, keys, sa.Agent)
	doc := demo.Permit(time.Now(), remoteName)
	doc.ID += "-remote"
	require.NoError(r.t, r.World.Import(ctx, doc, time.Now()))
	r.permit = string(doc.ID)

	record := filepath.Join(r.public, "broker.json")
	b, err = json.Marshal(sa.Broker)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(record, b, 0o644)) //nolint:gosec // public keys
	r.configureAgent()
	out, err = r.valico("agent", "pin", record, "--config", r.etc("agent.yaml")).CombinedOutput()
	require.NoError(r.t, err, "%s", out)
	require.Contains(r.t, string(out), "LINK KEY", "two operators compare them")
	b, err = os.ReadFile(r.World.Authority.AuthoritiesFile())
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.etc("trust", "authorities.json"), b, 0o644)) //nolint:gosec // public keys
}

func (r *remote) configureAgent() {
	r.t.Helper()
	c := app.DefaultAgentConfig()
	c.Dir, c.State, c.Trust, c.CA = r.dir, r.etc("state"), r.etc("trust"), filepath.Join(r.public, "broker.pem")
	c.Proxy, c.Isolation, c.Scheduler, c.Poll, c.KillMargin = "none", broker.Isolation(r.site.Isolation), "local", 50*time.Millisecond, 5*time.Second
	c.Exec = filepath.Join(r.bin, "valico-exec")
	if r.slurm != nil {
		c.Scheduler, c.Slurm, c.Exec = "slurm", r.slurm, ""
	}
	c.Accounts = map[broker.PersonID]string{}
	for person, account := range r.site.Accounts {
		c.Accounts[broker.PersonID(person)] = account
	}
	for _, d := range r.World.Site.Datasets {
		c.Datasets = append(c.Datasets, app.AgentDataset{
			PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: broker.Digest(d.Digest), Holder: d.Holder, Country: d.Country, Synthetic: d.Synthetic,
		})
	}
	b, err := yaml.Marshal(c)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.etc("agent.yaml"), b, 0o644)) //nolint:gosec // another account reads it
}

// startAgent starts the agent's process.
func (r *remote) startAgent() {
	r.t.Helper()
	require.Nil(r.t, r.proc)
	c := r.valico("agent", "--config", r.etc("agent.yaml"))
	log, err := os.OpenFile(filepath.Join(r.Dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(r.t, err)
	defer log.Close() //nolint:errcheck // the child has its own copy
	c.Stdout, c.Stderr = log, log
	require.NoError(r.t, c.Start())
	r.proc = c
}

func (r *remote) endAgent(s syscall.Signal) {
	if r.proc == nil {
		return
	}
	_ = r.proc.Process.Signal(s)
	_ = r.proc.Wait()
	r.proc = nil
}

func (r *remote) agentLog() string {
	b, _ := os.ReadFile(filepath.Join(r.Dir, "agent.log"))
	return string(b[max(0, len(b)-6000):])
}

func (r *remote) submit(key, args string) wire.Job {
	r.t.Helper()
	j, err := r.Submit(r.t.Context(), brokertest.Job{Permit: r.permit, Site: r.site, Args: args}, key)
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
	b, err := os.ReadFile(filepath.Join(r.dir, "quarantine", attempt, "out", name))
	require.NoError(r.t, err, "%s", r.agentLog())
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
	r.startAgent()
	job := r.submit("long", `, "-work", "15s"`)
	job = r.until(job.ID, func(j wire.Job) bool { return over(j) || attemptIs("running")(j) })
	require.False(t, over(job), "%+v\n%s", job, r.agentLog())
	requireNoListener(t, r.proc.Process.Pid)

	r.link.Cut()
	r.endAgent(syscall.SIGKILL)
	r.startAgent()
	r.Kill()
	r.Revive() // the broker and the NATS server in it
	r.link.Heal()
	job = r.until(job.ID, over)
	require.Equal(t, "succeeded", job.State, "%+v\n%s\n%s", job, r.Log(), r.agentLog())
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
