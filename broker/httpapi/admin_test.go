package httpapi_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/policy/permit"
)

// authority signs permits and statuses that the broker of the bundle trusts.
type authority struct{ permit, status ed25519.PrivateKey }

func newAuthority(t *testing.T) authority {
	t.Helper()
	_, p, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, s, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return authority{p, s}
}

func (a authority) trust(d *httpapi.Deps) {
	d.Trust.StatusMaxAge = time.Hour
	d.Trust.Issuers = []permit.TrustedIssuer{{KeyID: "p1", Public: a.permit.Public(), Issuer: "hdab-sandbox", Scope: permit.Scope{
		Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"}, Holders: []string{"holder-sandbox"}, SyntheticOnly: true,
	}}}
	d.Trust.StatusKeys = []permit.TrustedStatusKey{{KeyID: "s1", Public: a.status.Public(), Issuer: "hdab-sandbox"}}
}

func (a authority) sign(t *testing.T, doc permit.Document) string {
	t.Helper()
	jws, err := permit.Sign(doc, a.permit, "p1")
	require.NoError(t, err)
	return jws
}

func (a authority) state(t *testing.T, s permit.Status) string {
	t.Helper()
	jws, err := permit.SignStatus(s, a.status, "s1")
	require.NoError(t, err)
	return jws
}

func TestAPermitIsImportedVerifiedAndItsStatusNeverGoesBack(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	b := setup(t, a.trust)
	op, now := b.as(t, b.otto), time.Now()
	doc := permit.Template(now)
	granted := permit.Status{PermitID: doc.ID, Version: 1, Status: permit.StatusGranted, At: now.Add(-time.Minute)}
	p, err := op.ImportPermit(t.Context(), wire.PermitImport{JWS: a.sign(t, doc), Status: a.state(t, granted)})
	require.NoError(t, err)
	require.True(t, p.Verified && p.InScope)
	require.Equal(t, permit.StatusGranted, p.Status)
	require.NotNil(t, p.LedgerIndex)

	got, err := b.as(t, b.dev).Permit(t.Context(), doc.ID)
	require.NoError(t, err)
	require.Equal(t, doc.Persons[0].ID, got.Document.Persons[0].ID)
	_, err = b.as(t, b.eve).Permit(t.Context(), doc.ID)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))

	revoked := granted
	revoked.Status, revoked.At = permit.StatusRevoked, now
	p, err = op.SetPermitStatus(t.Context(), doc.ID, a.state(t, revoked))
	require.NoError(t, err)
	require.Equal(t, permit.StatusRevoked, p.Status)
	_, err = op.SetPermitStatus(t.Context(), doc.ID, a.state(t, granted))
	require.Equal(t, "permit_status_older", broker.CodeOf(err))
	future := granted
	future.At = now.Add(time.Hour)
	_, err = op.SetPermitStatus(t.Context(), doc.ID, a.state(t, future))
	require.Equal(t, "permit_status_future", broker.CodeOf(err))
	other := granted
	other.Version = 2
	_, err = op.SetPermitStatus(t.Context(), doc.ID, a.state(t, other))
	require.Equal(t, "permit_status_mismatch", broker.CodeOf(err))
	listed, err := b.as(t, b.dev).Permits(t.Context())
	require.NoError(t, err)
	require.Equal(t, permit.StatusRevoked, listed.Permits[0].Status)
}

func TestAPermitThatBreaksARuleIsNotImported(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	b := setup(t, a.trust)
	op := b.as(t, b.otto)
	doc := permit.Template(time.Now())
	_, err := op.ImportPermit(t.Context(), wire.PermitImport{JWS: stranger.sign(t, doc)})
	require.Equal(t, permit.CodeSignature, broker.CodeOf(err))
	outside := doc
	outside.Datasets = []permit.Dataset{doc.Datasets[0]}
	outside.Datasets[0].PURI = "https://elsewhere.example/d"
	_, err = op.ImportPermit(t.Context(), wire.PermitImport{JWS: a.sign(t, outside)})
	require.Equal(t, permit.CodeScope, broker.CodeOf(err))
	bad := doc
	bad.Persons, bad.ProhibitedAck = nil, false
	res, body := b.call(t, b.otto, http.MethodPost, "/v1/permits", `{"jws":"`+a.sign(t, bad)+`"}`)
	require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode)
	require.Contains(t, body, `"field":"persons"`)
	require.Contains(t, body, `"field":"prohibited_uses_acknowledged"`)
	listed, err := op.Permits(t.Context())
	require.NoError(t, err)
	require.Empty(t, listed.Permits)
	_, err = b.as(t, b.dev).ImportPermit(t.Context(), wire.PermitImport{JWS: a.sign(t, doc)})
	require.Equal(t, broker.KindForbidden, broker.KindOf(err))
}

func TestASiteShowsAccountsAndPathsToOperatorsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	res, body := b.call(t, b.dev, http.MethodGet, "/v1/sites", "")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Contains(t, body, `"account":"u1"`)
	require.NotContains(t, body, `"accounts"`)
	require.NotContains(t, body, `/d/1"`+`,"digest"`)
	seen, err := b.as(t, b.otto).Sites(t.Context())
	require.NoError(t, err)
	require.Equal(t, "u1", seen.Sites[0].Accounts["ada@example.org"])
	require.Equal(t, "/d/1", seen.Sites[0].Datasets[0].Path)
}

func TestAddingASiteGrantsItsGPUHours(t *testing.T) {
	t.Parallel()
	b := setup(t)
	op := b.as(t, b.otto)
	have, err := op.Sites(t.Context())
	require.NoError(t, err)
	again := have.Sites[0]
	again.ID, again.CreatedAt, again.Account = "", nil, ""
	again.Datasets[0].Country = "SI"
	_, err = op.AddSite(t.Context(), wire.SiteAdd{Site: again})
	require.Equal(t, broker.KindConflict, broker.KindOf(err), "one site of a name: %v", err)
	again.Name = "there"
	made, err := op.AddSite(t.Context(), wire.SiteAdd{Site: again, GPUHours: 2.5, Days: 30})
	require.NoError(t, err)
	require.True(t, broker.ValidID("site", made.ID))
	as, err := b.as(t, b.dev).Allocations(t.Context())
	require.NoError(t, err)
	found := 0.0
	for _, a := range as.Allocations {
		if a.Site == "there" {
			found = a.Available
		}
	}
	require.InDelta(t, 2.5, found, 1e-9)
	check, err := b.as(t, b.dev).CheckSite(t.Context(), "there")
	require.NoError(t, err)
	byName := map[string]wire.Check{}
	for _, c := range check.Checks {
		byName[c.Name] = c
	}
	require.True(t, byName["account"].OK)
	require.False(t, byName["real_data_needs.assurance"].OK)
	_, err = op.CheckSite(t.Context(), "nowhere")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func TestAPersonIsOfTheOperatorsTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	op := b.as(t, b.otto)
	p := wire.Person{ID: "new@example.org", Name: "New", Roles: []string{broker.RoleDeveloper}}
	got, err := op.AddPerson(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, string(b.Project), got.Project)
	_, err = op.AddPerson(t.Context(), p)
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	p.ID, p.Project = "x@example.org", "prj_elsewhere"
	_, err = op.AddPerson(t.Context(), p)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	p.Project, p.Roles = "", []string{"root"}
	_, err = op.AddPerson(t.Context(), p)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err))
	_, err = b.as(t, b.eve).NewToken(t.Context(), wire.TokenRequest{Person: "new@example.org", Days: 1})
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "a stranger's operator has no power here")
	all, err := op.Persons(t.Context())
	require.NoError(t, err)
	require.Len(t, all.Persons, 4)
}

func TestRecordsOpenToWhoAskedAndToOperatorsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Admit(t, 1)
	cp, err := b.as(t, "").Checkpoint(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, cp.Checkpoint)
	leaves, err := b.as(t, "").Leaves(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, leaves.Leaves, 1)
	for name, c := range map[string]struct {
		token broker.Secret
		rows  int
		open  bool
	}{"submitter": {b.dev, 1, true}, "operator": {b.otto, 1, true}, "colleague": {b.rita, 1, false}, "stranger": {b.eve, 0, false}} {
		got, err := b.as(t, c.token).Records(t.Context(), 0, 10)
		require.NoError(t, err, name)
		require.Len(t, got.Records, c.rows, name)
		require.True(t, got.Done)
		for _, r := range got.Records {
			require.Equal(t, c.open, r.Document != nil && r.Salt != nil, name)
			require.Equal(t, receipt.Hash(r.Record.Leaf()), leaves.Leaves[0], name)
		}
	}
}
