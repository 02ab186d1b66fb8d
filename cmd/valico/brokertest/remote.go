package brokertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
)

// RemoteName is the site whose agent is a process of its own.
const RemoteName = "remote"

// Remote is the agent of a remote site as a process of its own, and the link
// between it and a broker, which can be cut.
type Remote struct {
	*Broker
	Public string // a folder that the agent's account reads
	Bin    string // copies of the programs there
	Who    *user.User
	Link   *faultproxy.Proxy
	Listen string // where the broker takes agents
	Place  string // the site's folder
	Site   wire.Site
	Permit string // for the site
	Agent  *exec.Cmd

	far   wire.Site
	slurm *app.SlurmConfig
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

// NewRemote prepares a remote site on the local scheduler, or on the lab, and
// configures the broker for it. Enrol, once the broker is prepared, admits it.
func NewRemote(b *Broker, cluster *demo.SlurmLab) *Remote {
	t := b.t
	t.Helper()
	public, err := os.MkdirTemp("", "valico-remote-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(public, 0o755)) //nolint:gosec // another account reads it
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(public)) })
	r := &Remote{Broker: b, Public: public, Bin: filepath.Join(public, "bin"), Place: filepath.Join(public, "site")}
	t.Cleanup(func() { r.EndAgent(syscall.SIGTERM) })
	require.NoError(t, os.Mkdir(r.Bin, 0o755)) //nolint:gosec // another account reads it
	for _, name := range []string{"valico", "valico-exec"} {
		program, err := os.ReadFile(filepath.Join(b.bin, name)) //nolint:gosec // our own programs
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(r.Bin, name), program, 0o755)) //nolint:gosec // another account runs it
	}
	r.Listen = FreeAddress(t)
	r.Link, err = faultproxy.Listen(t.Context(), "tcp", r.Listen, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Link.Close()) })
	r.certificate()
	r.at(cluster)
	b.Configure(func(c *app.Config) {
		c.Agents = app.AgentsConfig{
			Listen: r.Listen, Cert: filepath.Join(public, "broker.pem"), Key: filepath.Join(b.Dir, "broker.key"), URL: "https://" + r.Link.Addr(),
		}
	})
	return r
}

// at says which scheduler the agent talks to, and as whom it runs.
func (r *Remote) at(cluster *demo.SlurmLab) {
	r.t.Helper()
	var err error
	if cluster == nil {
		r.far, err = demo.LocalSite()
		require.NoError(r.t, err)
		r.Who = agentUser(r.t)
		r.far.Accounts = map[string]string{string(demo.Developer): r.Who.Username}
		return
	}
	var c app.Config
	r.far, _, err = cluster.Site(&c)
	require.NoError(r.t, err)
	slurm := c.Slurm[r.far.Name]
	r.slurm, r.Place = &slurm, cluster.SiteDir()
	r.Who, err = user.Current() // root, which alone can start slurmrestd as each person
	require.NoError(r.t, err)
}

// FreeAddress is a port of loopback that nobody listens on.
func FreeAddress(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // nothing was sent
	return l.Addr().String()
}

// certificate makes the broker's, which is its own root.
func (r *Remote) certificate() {
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
		filepath.Join(r.Public, "broker.pem"): {Type: "CERTIFICATE", Bytes: der},
		filepath.Join(r.Dir, "broker.key"):    {Type: "PRIVATE KEY", Bytes: secret},
	} {
		mode := os.FileMode(0o644)
		if b.Type == "PRIVATE KEY" {
			mode = 0o600
		}
		require.NoError(r.t, os.WriteFile(path, pem.EncodeToMemory(b), mode))
	}
}

// Etc is below the folder of the agent's configuration.
func (r *Remote) Etc(elem ...string) string {
	return filepath.Join(append([]string{r.Public, "etc"}, elem...)...)
}

// Valico runs the command as the agent's account.
func (r *Remote) Valico(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(r.Bin, "valico"), args...) //nolint:gosec,noctx // our own program; the test ends it
	c.Env = []string{"HOME=" + r.Public, "PATH=" + r.Bin + ":" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if strconv.Itoa(os.Geteuid()) != r.Who.Uid {
		uid, _ := strconv.ParseUint(r.Who.Uid, 10, 32)
		gid, _ := strconv.ParseUint(r.Who.Gid, 10, 32)
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return c
}

// Enrol does what two operators do, with the commands that they use. The site
// has the dataset of the broker's first.
func (r *Remote) Enrol(gpuHours float64) {
	r.t.Helper()
	site := r.far
	uid, err := strconv.Atoi(r.Who.Uid)
	require.NoError(r.t, err)
	for _, dir := range []string{r.Etc(), r.Place} {
		require.NoError(r.t, os.MkdirAll(dir, 0o755)) //nolint:gosec // the agent's
		require.NoError(r.t, os.Chown(dir, uid, -1))
	}
	out, err := r.Valico("agent", "init", "--name", RemoteName, "--dir", r.Etc(), "--site-dir", r.Place).CombinedOutput()
	require.NoError(r.t, err, "%s", out)
	b, err := os.ReadFile(r.Etc("enrolment.json"))
	require.NoError(r.t, err)
	var keys wire.AgentKeys
	require.NoError(r.t, json.Unmarshal(b, &keys))

	ctx, op := r.t.Context(), r.World.Client(demo.OperatorID)
	site.Name, site.Isolation, site.Datasets = RemoteName, r.World.Site.Isolation, r.World.Site.Datasets
	r.Site, err = op.AddSite(ctx, wire.SiteAdd{Site: site, GPUHours: gpuHours, Days: 10, Agent: &keys})
	require.NoError(r.t, err)
	sa, err := op.SiteAgent(ctx, RemoteName)
	require.NoError(r.t, err)
	require.Equal(r.t, keys, sa.Agent)
	doc := demo.Permit(time.Now(), RemoteName)
	doc.ID += "-remote"
	require.NoError(r.t, r.World.Import(ctx, doc, time.Now()))
	r.Permit = doc.ID

	record := filepath.Join(r.Public, "broker.json")
	b, err = json.Marshal(sa.Broker)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(record, b, 0o644)) //nolint:gosec // public keys
	r.configureAgent()
	out, err = r.Valico("agent", "pin", record, "--config", r.Etc("agent.yaml")).CombinedOutput()
	require.NoError(r.t, err, "%s", out)
	require.Contains(r.t, string(out), "LINK KEY", "two operators compare them")
	b, err = os.ReadFile(r.World.Authority.AuthoritiesFile())
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.Etc("trust", "authorities.json"), b, 0o644)) //nolint:gosec // public keys
}

func (r *Remote) configureAgent() {
	r.t.Helper()
	c := app.DefaultAgentConfig()
	c.Dir, c.State, c.Trust, c.CA = r.Place, r.Etc("state"), r.Etc("trust"), filepath.Join(r.Public, "broker.pem")
	c.Proxy, c.Isolation, c.Scheduler, c.Poll, c.KillMargin = "none", broker.Isolation(r.Site.Isolation), "local", 50*time.Millisecond, 5*time.Second
	c.Exec = filepath.Join(r.Bin, "valico-exec")
	if r.slurm != nil {
		c.Scheduler, c.Slurm, c.Exec = "slurm", r.slurm, ""
	}
	c.Accounts = map[broker.PersonID]string{}
	for person, account := range r.Site.Accounts {
		c.Accounts[broker.PersonID(person)] = account
	}
	for _, d := range r.World.Site.Datasets {
		c.Datasets = append(c.Datasets, app.AgentDataset{
			PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: broker.Digest(d.Digest), Holder: d.Holder, Country: d.Country, Synthetic: d.Synthetic,
		})
	}
	b, err := yaml.Marshal(c)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.Etc("agent.yaml"), b, 0o644)) //nolint:gosec // another account reads it
}

// StartAgent starts the agent's process.
func (r *Remote) StartAgent() {
	r.t.Helper()
	require.Nil(r.t, r.Agent)
	c := r.Valico("agent", "--config", r.Etc("agent.yaml"))
	log, err := os.OpenFile(filepath.Join(r.Dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(r.t, err)
	defer log.Close() //nolint:errcheck // the child has its own copy
	c.Stdout, c.Stderr = log, log
	require.NoError(r.t, c.Start())
	r.Agent = c
}

// EndAgent ends the agent's process by a signal, if one runs.
func (r *Remote) EndAgent(s syscall.Signal) {
	if r.Agent == nil {
		return
	}
	_ = r.Agent.Process.Signal(s)
	_ = r.Agent.Wait()
	r.Agent = nil
}

// AgentLog is the end of what the agent's processes logged.
func (r *Remote) AgentLog() string {
	b, _ := os.ReadFile(filepath.Join(r.Dir, "agent.log"))
	return string(b[max(0, len(b)-6000):])
}
