package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

func projectOnce(t *testing.T, s Store) {
	t.Helper()
	a, p, err := s.EnsureProject(t.Context(), "one")
	require.NoError(t, err)
	require.True(t, broker.ValidID("ten", string(a)))
	require.True(t, broker.ValidID("prj", string(p)))
	a2, p2, err := s.EnsureProject(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, a, a2)
	require.Equal(t, p, p2)
	_, p3, err := s.EnsureProject(t.Context(), "two")
	require.NoError(t, err)
	require.NotEqual(t, p, p3)
	_, _, err = s.EnsureProject(t.Context(), "")
	require.Equal(t, broker.KindInvalid, broker.KindOf(err))
}

func tokenNamesPerson(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 0)
	ctx := t.Context()
	require.Equal(t, broker.KindConflict, broker.KindOf(s.AddPerson(ctx, f.Person)))
	people, err := s.People(ctx, f.Tenant)
	require.NoError(t, err)
	require.Equal(t, []broker.Person{f.Person}, people)

	token := func(hash byte, until time.Duration) broker.Token {
		return broker.Token{
			ID: broker.NewID[broker.TokenID]("tok"), Tenant: f.Tenant, Project: f.Project, Person: f.Person.ID,
			Hash: [32]byte{hash}, CreatedAt: f.now, ExpiresAt: f.now.Add(until),
		}
	}
	good, old, gone := token(1, time.Hour), token(2, -time.Second), token(3, time.Hour)
	for _, k := range []broker.Token{good, old, gone} {
		require.NoError(t, s.AddToken(ctx, k))
	}
	require.Equal(t, broker.KindConflict, broker.KindOf(s.AddToken(ctx, token(1, time.Hour))), "one hash, one token")
	stranger := token(9, time.Hour)
	stranger.Person = "nobody"
	require.Equal(t, broker.KindNotFound, broker.KindOf(s.AddToken(ctx, stranger)))

	require.NoError(t, s.RevokeToken(ctx, f.Tenant, gone.ID))
	require.NoError(t, s.RevokeToken(ctx, f.Tenant, gone.ID))
	require.Equal(t, broker.KindNotFound, broker.KindOf(s.RevokeToken(ctx, "another", good.ID)))

	p, k, err := s.PersonByToken(ctx, good.Hash)
	require.NoError(t, err)
	require.Equal(t, f.Person, p)
	require.Equal(t, good, k)
	var texts []string
	for _, h := range []byte{2, 3, 4} { // expired, revoked, unknown
		_, _, err := s.PersonByToken(ctx, [32]byte{h})
		require.Equal(t, broker.KindUnauthenticated, broker.KindOf(err))
		texts = append(texts, err.Error())
	}
	require.Equal(t, texts[0], texts[1])
	require.Equal(t, texts[0], texts[2])
	ks, err := s.Tokens(ctx, f.Tenant, f.Person.ID)
	require.NoError(t, err)
	require.Len(t, ks, 3)
}

func siteByNameAndID(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 0)
	ctx := t.Context()
	for _, key := range []string{f.Site.Name, string(f.Site.ID)} {
		got, err := s.Site(ctx, key)
		require.NoError(t, err)
		require.Equal(t, f.Site, got)
	}
	again := f.Site
	again.ID = broker.NewID[broker.SiteID]("sit")
	err := s.AddSite(ctx, again)
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	require.Equal(t, "site_exists", broker.CodeOf(err))
	changed := f.Site
	changed.MFA, changed.Datasets = true, nil
	require.NoError(t, s.UpdateSite(ctx, changed))
	all, err := s.Sites(ctx)
	require.NoError(t, err)
	require.Equal(t, []broker.Site{changed}, all)
	require.Equal(t, broker.KindNotFound, broker.KindOf(s.UpdateSite(ctx, again)))
	_, err = s.Site(ctx, "elsewhere")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func allocationAtMoment(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	got, err := s.AllocationsAt(ctx, f.Project, f.Site.ID, f.now)
	require.NoError(t, err)
	require.Equal(t, []broker.Allocation{f.Allocation}, got)
	more, frozen := f.Allocation, f.Allocation
	more.ID, more.GPUSeconds = broker.NewID[broker.AllocationID]("alc"), 200
	frozen.ID, frozen.GPUSeconds, frozen.Frozen = broker.NewID[broker.AllocationID]("alc"), 900, true
	require.NoError(t, s.AddAllocation(ctx, frozen))
	require.NoError(t, s.AddAllocation(ctx, more))
	got, err = s.AllocationsAt(ctx, f.Project, f.Site.ID, f.now)
	require.NoError(t, err)
	require.Equal(t, []broker.Allocation{more, f.Allocation, frozen}, got, "most left first, frozen ones last")
	for _, at := range []time.Time{f.Allocation.ValidUntil, f.Allocation.ValidFrom.Add(-time.Microsecond)} {
		got, err := s.AllocationsAt(ctx, f.Project, f.Site.ID, at)
		require.NoError(t, err)
		require.Empty(t, got)
	}
	got, err = s.AllocationsAt(ctx, "prj_x", f.Site.ID, f.now)
	require.NoError(t, err)
	require.Empty(t, got)
}

func (f Fixture) permit(version int, jws string) (broker.PermitRecord, ledger.Entry) {
	return broker.PermitRecord{
			ID: Permit, Version: version, Tenant: f.Tenant, Project: f.Project, JWS: []byte(jws), Digest: broker.DigestOf([]byte(jws)),
			Status: []byte("granted"), StatusAt: f.now, At: f.now,
		}, ledger.Entry{
			Kind: ledger.KindPermitImport, Tenant: f.Tenant, Permit: Permit, Person: f.Person.ID, Document: []byte(jws), At: f.now,
		}
}

func permitHasOneText(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 0)
	ctx := t.Context()
	_, err := s.Permit(ctx, f.Project, Permit)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	p1, e1 := f.permit(1, "one")
	i, err := s.ImportPermit(ctx, p1, e1)
	require.NoError(t, err)
	again, err := s.ImportPermit(ctx, p1, e1)
	require.NoError(t, err)
	require.Equal(t, i, again)
	other, e := f.permit(1, "other")
	_, err = s.ImportPermit(ctx, other, e)
	require.Equal(t, broker.KindConflict, broker.KindOf(err))
	p2, e2 := f.permit(2, "two")
	_, err = s.ImportPermit(ctx, p2, e2)
	require.NoError(t, err)
	got, err := s.Permit(ctx, f.Project, Permit)
	require.NoError(t, err)
	require.Equal(t, p2, got)
	all, err := s.Permits(ctx, f.Project)
	require.NoError(t, err)
	require.Equal(t, []broker.PermitRecord{p2}, all)
	n, err := s.LedgerSize(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	bad, e := f.permit(3, "three")
	bad.Digest = broker.DigestOf([]byte("x"))
	_, err = s.ImportPermit(ctx, bad, e)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err))
}

func statusOnlyNewer(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 0)
	ctx := t.Context()
	p, e := f.permit(1, "one")
	_, err := s.SetPermitStatus(ctx, f.Project, Permit, []byte("revoked"), f.now, e)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	_, err = s.ImportPermit(ctx, p, e)
	require.NoError(t, err)
	e.Kind, e.Document = ledger.KindPermitStatus, []byte("revoked")
	later := f.now.Add(time.Second)
	i, err := s.SetPermitStatus(ctx, f.Project, Permit, []byte("revoked"), later, e)
	require.NoError(t, err)
	again, err := s.SetPermitStatus(ctx, f.Project, Permit, []byte("revoked"), later, e)
	require.NoError(t, err)
	require.Equal(t, i, again)
	for _, at := range []time.Time{f.now, later} {
		_, err = s.SetPermitStatus(ctx, f.Project, Permit, []byte("granted again"), at, e)
		require.Equal(t, broker.KindConflict, broker.KindOf(err))
	}
	got, err := s.Permit(ctx, f.Project, Permit)
	require.NoError(t, err)
	require.Equal(t, []byte("revoked"), got.Status)
	require.Equal(t, later, got.StatusAt)
}

func strangersSeeNothing(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	job, _ := f.Admit(t, 1)
	otherTenant, other, err := s.EnsureProject(ctx, "another")
	require.NoError(t, err)
	_, err = s.Job(ctx, other, job.ID)
	_, unknown := s.Job(ctx, other, broker.NewID[broker.JobID]("job"))
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	require.Equal(t, broker.KindNotFound, broker.KindOf(unknown))
	require.Equal(t, broker.KindNotFound, broker.KindOf(s.RequestCancel(ctx, other, job.ID, f.now)))
	js, _, err := s.Jobs(ctx, other, "", 10)
	require.NoError(t, err)
	require.Empty(t, js)
	rows, err := s.LedgerRows(ctx, otherTenant, 0, 10)
	require.NoError(t, err)
	require.Empty(t, rows)
	evs, err := s.Events(ctx, otherTenant, job.ID, 0, 10)
	require.NoError(t, err)
	require.Empty(t, evs)
	foreign := f.Admission(t, broker.VerdictAllow, 1)
	foreign.Job.Project, foreign.Decision.Project, foreign.Attempt.Project = other, other, other
	_, _, err = s.Admit(ctx, foreign)
	require.Error(t, err, "a tenant's job in another tenant's project")
}
