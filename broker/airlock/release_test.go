package airlock_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/ledger"
)

// record is a store with one job of two attempts, the second of which sealed.
type record struct {
	manifest broker.OutputManifest
	releases []broker.Release
	entries  []ledger.Entry
}

func (r *record) Job(_ context.Context, project broker.ProjectID, id broker.JobID) (broker.Job, error) {
	if project != "prj_one" || id != "job_one" {
		return broker.Job{}, broker.NotFound("job", string(id))
	}
	j := broker.Job{ID: id, Tenant: "ten_one", Project: project, Submitter: "ada", Site: "site_one"}
	j.Spec.Permit = "permit-1"
	return j, nil
}

func (r *record) Attempts(context.Context, broker.JobID) ([]broker.Attempt, error) {
	return []broker.Attempt{{ID: "att_one"}, {ID: "att_two"}}, nil
}

func (r *record) Manifest(_ context.Context, id broker.AttemptID) (broker.OutputManifest, error) {
	if id != "att_two" {
		return broker.OutputManifest{}, broker.NotFound("manifest", string(id))
	}
	return r.manifest, nil
}

func (r *record) RecordRelease(_ context.Context, rel broker.Release, e ledger.Entry) (broker.Release, error) {
	if len(r.releases) > 0 {
		return broker.Release{}, &broker.Error{Kind: broker.KindConflict, Code: "already_released"}
	}
	rel.LedgerIndex = 7
	r.releases, r.entries = append(r.releases, rel), append(r.entries, e)
	return rel, nil
}

func (r *record) Releases(context.Context, broker.JobID) ([]broker.Release, error) {
	return r.releases, nil
}

// quarantine serves what it was handed a release of.
type quarantine struct {
	down     error
	released map[broker.AttemptID]string
}

func (q *quarantine) Release(_ context.Context, id broker.AttemptID, envelope []byte) error {
	if q.down == nil {
		q.released[id] = string(envelope)
	}
	return q.down
}

func (q *quarantine) Open(_ context.Context, id broker.AttemptID, path string) (io.ReadCloser, broker.OutputFile, error) {
	if q.released[id] == "" {
		return nil, broker.OutputFile{}, broker.NotFound("released output", path)
	}
	return io.NopCloser(strings.NewReader("weights")), broker.OutputFile{Path: path, SizeBytes: 7}, nil
}

// word is a verifier of statements that say "attempt manifest reviewer".
type word struct{}

func (word) VerifyRelease(envelope []byte) (airlock.Statement, error) {
	f := strings.Fields(string(envelope))
	if len(f) != 3 {
		return airlock.Statement{}, &broker.Error{Kind: broker.KindForbidden, Code: "release_signature"}
	}
	return airlock.Statement{Attempt: broker.AttemptID(f[0]), Manifest: broker.Digest(f[1]), Reviewer: broker.PersonID(f[2])}, nil
}

type lock struct {
	*airlock.Airlock

	record *record
	site   *quarantine
}

func newLock(t *testing.T, sandbox bool) *lock {
	t.Helper()
	l := &lock{
		record: &record{manifest: broker.OutputManifest{
			Attempt: "att_two", Sandbox: sandbox, Digest: "sha256:m", Files: []broker.OutputFile{{Path: "canary-4711.bin", SizeBytes: 7}},
		}},
		site: &quarantine{released: map[broker.AttemptID]string{}},
	}
	var err error
	l.Airlock, err = airlock.New(l.record, word{}, func(id broker.SiteID) (airlock.Site, bool) { return l.site, id == "site_one" }, time.Now)
	require.NoError(t, err)
	return l
}

func person(id broker.PersonID, roles ...string) broker.Person {
	return broker.Person{ID: id, Tenant: "ten_one", Project: "prj_one", Roles: roles}
}

const good = "att_two sha256:m rita"

func TestOnlyAnotherPersonsOwnStatementAboutWhatWasSealedReleases(t *testing.T) {
	t.Parallel()
	rita, elsewhere := person("rita", broker.RoleReviewer), person("rita", broker.RoleReviewer)
	elsewhere.Project = "prj_two"
	for name, c := range map[string]struct {
		who       broker.Person
		job       broker.JobID
		statement string
		kind      broker.Kind
		code      string
	}{
		"the submitter":             {person("ada", broker.RoleReviewer, broker.RoleOperator), "job_one", "att_two sha256:m ada", broker.KindForbidden, "reviewer_is_submitter"},
		"no reviewer":               {person("otto", broker.RoleOperator, broker.RoleDeveloper), "job_one", "att_two sha256:m otto", broker.KindForbidden, "role_missing"},
		"another project":           {elsewhere, "job_one", good, broker.KindNotFound, "not_found"},
		"another job":               {rita, "job_two", good, broker.KindNotFound, "not_found"},
		"not a statement":           {rita, "job_one", "nonsense", broker.KindForbidden, "release_signature"},
		"another's statement":       {rita, "job_one", "att_two sha256:m rosa", broker.KindForbidden, "reviewer_mismatch"},
		"another manifest":          {rita, "job_one", "att_two sha256:x rita", broker.KindInvalid, "manifest_mismatch"},
		"an attempt without any":    {rita, "job_one", "att_one sha256:m rita", broker.KindInvalid, "manifest_mismatch"},
		"an attempt of another job": {rita, "job_one", "att_six sha256:m rita", broker.KindInvalid, "manifest_mismatch"},
	} {
		l := newLock(t, true)
		_, err := l.Release(t.Context(), c.who, c.job, []byte(c.statement))
		require.Equal(t, c.kind, broker.KindOf(err), name)
		require.Equal(t, c.code, broker.CodeOf(err), name)
		require.Empty(t, l.record.releases, name)
		require.Empty(t, l.site.released, name)
		_, _, err = l.Open(t.Context(), rita, "job_one", "canary-4711.bin")
		require.Equal(t, broker.KindNotFound, broker.KindOf(err), name)
	}
}

func TestAReleaseThatDidNotReachTheSiteIsHandedOverAgain(t *testing.T) {
	t.Parallel()
	l, rita, ada := newLock(t, true), person("rita", broker.RoleReviewer), person("ada", broker.RoleDeveloper)
	l.site.down = errors.New("away")
	_, err := l.Release(t.Context(), rita, "job_one", []byte(good))
	require.Error(t, err)
	require.Len(t, l.record.releases, 1, "it is written down before the site is told")
	require.Equal(t, "rita", string(l.record.entries[0].Person))
	_, _, err = l.Open(t.Context(), ada, "job_one", "canary-4711.bin")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))

	l.site.down = nil
	rosa := person("rosa", broker.RoleReviewer)
	r, err := l.Release(t.Context(), rosa, "job_one", []byte("att_two sha256:m rosa"))
	require.NoError(t, err)
	require.EqualValues(t, 7, r.LedgerIndex)
	require.Equal(t, good, l.site.released["att_two"], "what stands in the ledger, not the second statement")
	require.Len(t, l.record.releases, 1)

	rc, f, err := l.Open(t.Context(), ada, "job_one", "canary-4711.bin")
	require.NoError(t, err)
	require.NoError(t, rc.Close())
	require.EqualValues(t, 7, f.SizeBytes)
	_, _, err = l.Open(t.Context(), ada, "job_one", "../manifest.json")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	elsewhere := ada
	elsewhere.Project = "prj_two"
	_, _, err = l.Open(t.Context(), elsewhere, "job_one", "canary-4711.bin")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func TestNamesOfFilesAreOutputsToo(t *testing.T) {
	t.Parallel()
	rita, ada := person("rita", broker.RoleReviewer), person("ada", broker.RoleDeveloper, broker.RoleOperator)
	names := func(l *lock, p broker.Person) int {
		all, err := l.Outputs(t.Context(), p, "job_one")
		require.NoError(t, err)
		require.Len(t, all, 1)
		return len(all[0].Manifest.Files) + len(all[0].Manifest.Bytes)
	}
	synthetic := newLock(t, true)
	require.Equal(t, 1, names(synthetic, ada), "synthetic data: nothing to hide")

	l := newLock(t, false)
	l.record.manifest.Bytes = []byte("canary-4711.bin")
	require.Zero(t, names(l, ada), "a workload chose them, and nobody has looked at them")
	require.NotZero(t, names(l, rita), "who reviews sees what there is")
	submitter := person("ada", broker.RoleReviewer)
	require.Zero(t, names(l, submitter), "a submitter reviews nothing of their own")
	_, err := l.Release(t.Context(), rita, "job_one", []byte(good))
	require.NoError(t, err)
	require.NotZero(t, names(l, ada))
}
