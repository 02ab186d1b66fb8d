package app_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ticket"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/dsse"
)

// outside is a broker that takes remote agents.
type outside struct {
	*world
	roots *x509.CertPool
}

func setupOutside(t *testing.T) *outside {
	t.Helper()
	dir, roots := t.TempDir(), x509.NewCertPool()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.True(t, roots.AppendCertsFromPEM(cert))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	w := setup(t, func(c *app.Config) {
		c.Agents = app.AgentsConfig{
			Listen: "127.0.0.1:0", Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), URL: "https://broker.example",
		}
	})
	return &outside{world: w, roots: roots}
}

func agentKeys(t *testing.T) (crypto.Signer, wire.AgentKeys) {
	t.Helper()
	k, err := dsse.GenerateKey()
	require.NoError(t, err)
	pem, err := dsse.MarshalPublicPEM(k.Public())
	require.NoError(t, err)
	_, public, err := link.NewSeed()
	require.NoError(t, err)
	return k, wire.AgentKeys{Key: string(pem), SignIn: public}
}

// admit admits a remote site whose agent is away.
func (o *outside) admit(name string) (broker.SiteID, crypto.Signer) {
	o.t.Helper()
	key, keys := agentKeys(o.t)
	site := o.Site
	site.ID, site.Name, site.Account, site.CreatedAt = "", name, "", nil
	added, err := o.Client(demo.OperatorID).AddSite(o.t.Context(), wire.SiteAdd{Site: site, GPUHours: 1, Days: 1, Agent: &keys})
	require.NoError(o.t, err)
	doc := demo.Permit(time.Now(), name)
	doc.ID += "-" + name
	require.NoError(o.t, o.Import(o.t.Context(), doc, time.Now()))
	return broker.SiteID(added.ID), key
}

// ordered submits a job to a remote site and returns its stored order.
func (o *outside) ordered(site string, epochs int) broker.SignedOrder {
	o.t.Helper()
	j := o.job()
	j.Site, j.Epochs = site, epochs
	doc := demo.Permit(time.Now(), site)
	j.Permit = doc.ID + "-" + site
	job, err := o.submit(demo.Developer, j)
	require.NoError(o.t, err)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(o.Dir, "broker", "broker.db")+"?mode=ro")
	require.NoError(o.t, err)
	defer db.Close() //nolint:errcheck // only read from
	var b []byte
	require.Eventually(o.t, func() bool {
		err := db.QueryRowContext(o.t.Context(), `SELECT order_bytes FROM attempt WHERE job_id = ? AND order_bytes IS NOT NULL`, job.ID).Scan(&b)
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	got, err := order.Decode(b)
	require.NoError(o.t, err)
	return got
}

// pull asks for an image as another project's client does; 0 when it got all.
func (o *outside) pull(repository string, digest broker.Digest, token broker.Secret) int {
	o.t.Helper()
	ref, err := name.NewDigest(strings.TrimPrefix(o.app.AgentsURL(), "https://") + "/" + repository + "@" + string(digest))
	require.NoError(o.t, err)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	img, err := ggcr.Image(ref, ggcr.WithContext(o.t.Context()), ggcr.WithTransport(tr),
		ggcr.WithAuth(authn.FromConfig(authn.AuthConfig{RegistryToken: string(token)})))
	if err == nil {
		err = validate.Image(img, validate.Fast)
	}
	if err == nil {
		return 0
	}
	var te *transport.Error
	require.ErrorAs(o.t, err, &te)
	return te.StatusCode
}

func TestAnOrdersImageIsForItsSiteAndNobodyElse(t *testing.T) {
	t.Parallel()
	o := setupOutside(t)
	site, key := o.admit("far")
	otherSite, otherKey := o.admit("farther")
	mine, second := o.ordered("far", 1), o.ordered("far", 2)
	other := o.ordered("farther", 3)
	token := func(t ticket.Ticket, k crypto.Signer) broker.Secret {
		s, err := ticket.Sign(t, k)
		require.NoError(o.t, err)
		return s
	}
	now := time.Now()
	good := ticket.New(site, mine.Order, now)
	at, image := string(mine.Order.Attempt), mine.Order.Image
	require.Zero(t, o.pull(at, image, token(good, key)))

	wrongOrder, late, long, stranger := good, good, good, good
	wrongOrder.Order = second.Order.ID
	late.Until, long.Until = now.Add(-time.Second), now.Add(time.Hour)
	stranger.Site = "site_stranger"
	operator, err := os.ReadFile(o.TokenFile(demo.OperatorID))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		repository string
		image      broker.Digest
		token      broker.Secret
		status     int
	}{
		"another site's agent for this order":     {at, image, token(ticket.New(otherSite, mine.Order, now), otherKey), 403},
		"another site's key in this site's name":  {at, image, token(good, otherKey), 401},
		"a site that nobody knows":                {at, image, token(stranger, key), 401},
		"another order of the attempt":            {at, image, token(wrongOrder, key), 403},
		"another attempt of the same site":        {string(second.Order.Attempt), second.Order.Image, token(good, key), 403},
		"another site's attempt":                  {string(other.Order.Attempt), other.Order.Image, token(good, key), 403},
		"an attempt that does not exist":          {"att_00000000000000000000000000", image, token(good, key), 403},
		"a ticket that has ended":                 {at, image, token(late, key), 401},
		"a ticket that would count for too long":  {at, image, token(long, key), 401},
		"the operator's own token":                {at, image, broker.Secret(strings.TrimSpace(string(operator))), 401},
		"an image that the order does not name":   {at, broker.DigestOf([]byte("another")), token(good, key), 404},
		"an attempt that its own agent never had": {"att_00000000000000000000000000", image, token(ticket.New(site, broker.WorkOrder{ID: "ord_x", Attempt: "att_00000000000000000000000000"}, now), key), 403},
	} {
		require.Equal(t, tc.status, o.pull(tc.repository, tc.image, tc.token), name)
	}

	_, keys := agentKeys(t)
	_, err = o.Client(demo.OperatorID).EnrolAgent(t.Context(), "far", keys)
	require.NoError(t, err)
	require.Equal(t, 401, o.pull(at, image, token(good, key)), "the earlier agent's tickets count no more")
}

func TestOnlyTheLinkAndImagesAreServedToSites(t *testing.T) {
	t.Parallel()
	o := setupOutside(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.roots, MinVersion: tls.VersionTLS12}}}
	for path, status := range map[string]int{"/v1/jobs": 404, "/": 404, "/metrics": 404, "/v2/": 401} {
		res, err := client.Get(o.app.AgentsURL() + path)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, status, res.StatusCode, path)
	}
}

func TestAnAgentIsEnrolledWithKeysOfItsOwn(t *testing.T) {
	t.Parallel()
	o := setupOutside(t)
	op := o.Client(demo.OperatorID)
	link, err := os.ReadFile(filepath.Join(o.Dir, "broker", "keys", "link.key"))
	require.NoError(t, err)
	own, err := dsse.ParsePrivatePEM(link)
	require.NoError(t, err)
	brokers, err := dsse.MarshalPublicPEM(own.Public())
	require.NoError(t, err)
	site := o.Site
	site.ID, site.Name, site.Account, site.CreatedAt = "", "far", "", nil
	_, keys := agentKeys(t)
	stolen := keys
	stolen.Key = string(brokers)
	_, err = op.AddSite(t.Context(), wire.SiteAdd{Site: site, Agent: &stolen})
	require.Equal(t, "enrolment_invalid", broker.CodeOf(err), "a key has one role")
	_, err = op.AddSite(t.Context(), wire.SiteAdd{Site: site, Agent: &keys})
	require.NoError(t, err)
	sa, err := op.SiteAgent(t.Context(), "far")
	require.NoError(t, err)
	require.Equal(t, keys, sa.Agent)
	require.Equal(t, "https://broker.example", sa.Broker.URL)
	require.Equal(t, strings.TrimSpace(string(brokers)), sa.Broker.Link)
	_, err = op.SiteAgent(t.Context(), "local")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "its agent is in the broker")
	_, other := agentKeys(t)
	_, err = op.EnrolAgent(t.Context(), "local", other)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "nobody takes over a site whose agent is in the broker")
	_, err = o.Client(demo.Developer).SiteAgent(t.Context(), "far")
	require.Equal(t, broker.KindForbidden, broker.KindOf(err))
}
