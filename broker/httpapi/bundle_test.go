package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// bundle is the API over a real record and ledger; what decides, holds blobs
// and holds outputs is scripted by the test.
type bundle struct {
	storetest.Fixture
	url       string
	log       *syncBuffer
	hub       *telemetry.Hub
	store     *sqlite.Store
	admission *decides
	airlock   *quarantine
	blobs     *memory
	// dev is the fixture's person; rita reviews, otto operates, eve is a stranger.
	dev, rita, otto, eve broker.Secret
}

func setup(t *testing.T, change ...func(*httpapi.Deps)) *bundle {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "record.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	b := &bundle{
		Fixture: storetest.Fill(t, store, 3600), log: &syncBuffer{}, hub: &telemetry.Hub{}, store: store,
		admission: &decides{}, airlock: &quarantine{}, blobs: &memory{m: map[broker.Digest][]byte{}},
	}
	b.admission.f = b.Fixture
	b.dev = b.token(t, b.Person)
	b.rita = b.person(t, "rita@example.org", broker.RoleReviewer)
	b.otto = b.person(t, "otto@example.org", broker.RoleOperator)
	b.eve = b.stranger(t)
	l, _ := storetest.NewLog(t, store)
	d := httpapi.Deps{
		Admission: b.admission, Store: store, Airlock: b.airlock, Blobs: b.blobs, Ledger: l, Hub: b.hub,
		Log: slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: time.Now, Version: "test",
		Heartbeat: 20 * time.Millisecond,
	}
	for _, f := range change {
		f(&d)
	}
	api, err := httpapi.New(d)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(api.Handler())
	srv.Config = api.NewHTTP()
	srv.Start()
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func (b *bundle) person(t *testing.T, id broker.PersonID, role string) broker.Secret {
	t.Helper()
	p := broker.Person{ID: id, Tenant: b.Tenant, Project: b.Project, Name: string(id), Roles: []string{role}}
	require.NoError(t, b.store.AddPerson(t.Context(), p))
	return b.token(t, p)
}

// stranger has every role, elsewhere.
func (b *bundle) stranger(t *testing.T) broker.Secret {
	t.Helper()
	tenant, project, err := b.store.EnsureProject(t.Context(), "elsewhere")
	require.NoError(t, err)
	p := broker.Person{
		ID: "eve@example.org", Tenant: tenant, Project: project, Name: "Eve",
		Roles: []string{broker.RoleDeveloper, broker.RoleReviewer, broker.RoleOperator},
	}
	require.NoError(t, b.store.AddPerson(t.Context(), p))
	return b.token(t, p)
}

func (b *bundle) token(t *testing.T, p broker.Person) broker.Secret {
	t.Helper()
	secret, hash := httpapi.NewSecret()
	require.NoError(t, b.store.AddToken(t.Context(), broker.Token{
		ID: broker.NewID[broker.TokenID]("tok"), Tenant: p.Tenant, Project: p.Project, Person: p.ID, Hash: hash,
		CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}))
	return secret
}

// as is the client of one person.
func (b *bundle) as(t *testing.T, s broker.Secret) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Server: b.url, Token: s})
	require.NoError(t, err)
	return c
}

// answer is what a raw request got.
type answer struct {
	StatusCode int
	Header     http.Header
}

// call sends a raw request.
func (b *bundle) call(t *testing.T, s broker.Secret, method, path, body string, headers ...string) (answer, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if s != "" {
		req.Header.Set("Authorization", "Bearer "+string(s))
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res.StatusCode, res.Header}, string(text)
}

// decides answers submissions with err, or admits them into the real record.
type decides struct {
	f    storetest.Fixture
	err  error
	seen admission.Request
	boom bool
}

func (d *decides) Submit(_ context.Context, r admission.Request) (broker.Job, broker.Decision, error) {
	d.seen = r
	if d.boom {
		panic("a secret of the process: hunter2")
	}
	if d.err != nil {
		return broker.Job{}, broker.Decision{}, d.err
	}
	job := broker.Job{
		ID: broker.NewID[broker.JobID]("job"), Spec: r.Spec, Submitter: r.Principal.Person.ID, Site: d.f.Site.ID, State: broker.JobAdmitted,
	}
	return job, broker.Decision{ID: "dec_1", Kind: broker.DecisionAdmission, Verdict: broker.VerdictAllow, LedgerIndex: 7}, nil
}

func (d *decides) Plan(_ context.Context, r admission.Request) (admission.Plan, error) {
	d.seen = r
	return admission.Plan{
		Verdict: broker.VerdictDeny, DaysLeft: 3, PermitGPUHoursLeft: -1, Reviewer: "HDAB",
		Sites: []admission.SitePlan{{Site: d.f.Site, Verdict: broker.VerdictDeny, Reasons: []broker.Reason{{Code: "purpose", Basis: "permit_condition"}}}},
	}, d.err
}

// quarantine holds one released file.
type quarantine struct {
	content string
	wrong   bool // serves other bytes than were released
}

func (q *quarantine) file() broker.OutputFile {
	return broker.OutputFile{Path: "deep/model.bin", SizeBytes: int64(len(q.content)), Digest: broker.DigestOf([]byte(q.content))}
}

func (q *quarantine) Outputs(context.Context, broker.Person, broker.JobID) ([]airlock.Sealed, error) {
	if q.content == "" {
		return nil, nil
	}
	m := broker.OutputManifest{Files: []broker.OutputFile{q.file()}, Digest: broker.DigestOf([]byte("m"))}
	return []airlock.Sealed{{Attempt: "att_1", Manifest: m, Release: &broker.Release{Reviewer: "rita@example.org"}}}, nil
}

func (q *quarantine) Release(_ context.Context, p broker.Person, id broker.JobID, envelope []byte) (broker.Release, error) {
	return broker.Release{ID: "rel_1", Job: id, Attempt: "att_1", Reviewer: p.ID, LedgerIndex: int64(len(envelope))}, nil
}

func (q *quarantine) Open(_ context.Context, _ broker.Person, _ broker.JobID, path string) (io.ReadCloser, broker.OutputFile, error) {
	if path != q.file().Path {
		return nil, broker.OutputFile{}, broker.NotFound("output", path)
	}
	content := q.content
	if q.wrong {
		content = strings.Repeat("x", len(content))
	}
	return io.NopCloser(strings.NewReader(content)), q.file(), nil
}

// memory keeps blobs.
type memory struct {
	mu sync.Mutex
	m  map[broker.Digest][]byte
}

func (m *memory) Has(_ context.Context, _ broker.TenantID, d broker.Digest) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.m[d] != nil, nil
}

func (m *memory) Put(_ context.Context, _ broker.TenantID, d broker.Digest, n int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if int64(len(b)) != n || broker.DigestOf(b) != d {
		return &broker.Error{Kind: broker.KindInvalid, Code: "blob_digest", Message: "the blob is not the one announced"}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m[d] = b
	return nil
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var errSecret = errors.New("pq: password=hunter2 at 10.0.0.7")
