//go:build integration

package main_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/dsse"
)

// thief has the broker's data folder and its certificate, and stands at its
// address. It satisfies link.Book.
type thief struct {
	t     *testing.T
	store *sqlite.Store
	nats  *telemetry.Server
	site  *link.Site
	agent crypto.PublicKey

	mu     sync.Mutex
	alerts []broker.SiteAlert
}

func (th *thief) AgentKey(context.Context, broker.SiteID) (crypto.PublicKey, error) {
	return th.agent, nil
}

func (th *thief) RecordAlerts(_ context.Context, as []broker.SiteAlert) error {
	th.mu.Lock()
	defer th.mu.Unlock()
	th.alerts = append(th.alerts, as...)
	return nil
}

func stolenKey(t *testing.T, path string) crypto.Signer {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	k, err := dsse.ParsePrivatePEM(b)
	require.NoError(t, err)
	return k
}

// steal takes the place of a broker that was stopped.
func steal(t *testing.T, r *remote) *thief {
	t.Helper()
	ctx := t.Context()
	th := &thief{t: t}
	var err error
	th.store, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(r.DataDir(), "broker.db")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = th.store.Close() }) // closed before the broker comes back
	es, err := th.store.Enrolments(ctx)
	require.NoError(t, err)
	require.Len(t, es, 1)
	th.agent, err = dsse.ParsePublicPEM(es[0].Key)
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.Public, "broker.pem"), filepath.Join(r.Dir, "broker.key"))
	require.NoError(t, err)
	th.nats, err = telemetry.NewServer(telemetry.ServerConfig{Dir: t.TempDir(), NoSync: true, Websocket: &telemetry.Websocket{
		Listen: r.Listen, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	}})
	require.NoError(t, err)
	require.NoError(t, th.nats.PinSite(es[0].Site, es[0].SignIn))
	require.NoError(t, th.nats.Start(ctx))
	t.Cleanup(th.nats.Close)
	nc, err := th.nats.Connect(ctx)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	th.site, err = link.NewSite(link.SiteConfig{
		Site: es[0].Site, Conn: nc, Key: stolenKey(t, filepath.Join(r.DataDir(), "keys", "link.key")), Book: th, Timeout: 5 * time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = th.site.Close() }) // its connection may be gone
	return th
}

// P14: who holds the whole of a broker, its database and all of its keys, starts
// nothing: permit and status are the authority's. The site tells.
func TestStolenBrokerKeysStartNothingAndTheSiteTells(t *testing.T) {
	t.Parallel()
	r := newRemote(t, nil)
	r.StartAgent()
	job := r.submit("honest", "")
	job = r.until(job.ID, over)
	require.Equal(t, "succeeded", job.State, "%+v\n%s", job, r.AgentLog())
	genuine := broker.AttemptID(job.Attempts[0].ID)
	r.Kill()

	th := steal(t, r)
	require.Eventually(t, func() bool {
		_, err := th.site.Describe(t.Context())
		return err == nil
	}, time.Minute, 100*time.Millisecond, "the agent takes the thief for its broker: %s", r.AgentLog())
	o := th.forge(r, genuine)
	err := th.site.Start(t.Context(), o)
	require.Equal(t, broker.KindForbidden, broker.KindOf(err), "%v", err)
	require.Equal(t, order.CodePermitSignature, broker.CodeOf(err))
	require.NoDirExists(t, filepath.Join(r.Place, "attempts", string(o.Order.Attempt)))
	require.NoError(t, th.store.Close())
	th.nats.Close()

	r.Revive()
	require.Eventually(t, func() bool {
		sa, err := r.World.Client(demo.OperatorID).SiteAgent(t.Context(), brokertest.RemoteName)
		if err != nil {
			return false
		}
		for _, a := range sa.Alerts {
			if a.Code == order.CodePermitSignature && a.Attempt == string(o.Order.Attempt) && a.Method == string(link.MethodStart) {
				return true
			}
		}
		return false
	}, 2*time.Minute, 200*time.Millisecond, "the alert reaches the operators: %s", r.AgentLog())
	r.EndAgent(syscall.SIGTERM)
}

// forge makes a genuine order into one for the thief's own permit, with every
// signature that the stolen keys can give.
func (th *thief) forge(r *remote, genuine broker.AttemptID) broker.SignedOrder {
	th.t.Helper()
	ctx := th.t.Context()
	b, err := th.store.OrderBytes(ctx, genuine)
	require.NoError(th.t, err)
	o, err := order.Decode(b)
	require.NoError(th.t, err)
	forger, err := demo.NewAuthority(th.t.TempDir()) // an authority of the thief's own
	require.NoError(th.t, err)
	doc := demo.Permit(time.Now(), brokertest.RemoteName)
	jws, err := forger.Sign(doc)
	require.NoError(th.t, err)
	w := o.Order
	w.ID, w.Attempt = broker.NewID[broker.OrderID]("ord"), broker.NewID[broker.AttemptID]("att")
	w.NotBefore, w.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(10*time.Minute)
	e := o.Evidence
	e.Permit = []byte(jws)
	w.Permit = broker.DigestOf(e.Permit)
	signer, err := order.NewSigner(stolenKey(th.t, filepath.Join(r.DataDir(), "keys", "order.key")))
	require.NoError(th.t, err)
	signed, err := signer.Sign(ctx, w, e)
	require.NoError(th.t, err)
	return signed
}
