package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// agentsSpeak: one agent per remote site, and no key twice.
func agentsSpeak(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 0)
	ctx := t.Context()
	remote := f.Site
	remote.ID, remote.Name = broker.NewID[broker.SiteID]("sit"), "far"
	e := broker.Enrolment{Site: remote.ID, Key: []byte("key 1"), SignIn: "UA", By: f.Person.ID, At: f.now}
	bare := e
	bare.Key = nil
	require.Equal(t, broker.KindInvalid, broker.KindOf(s.AddRemoteSite(ctx, remote, bare)))
	_, err := s.Site(ctx, "far")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "site and agent are written together")
	require.NoError(t, s.AddRemoteSite(ctx, remote, e))
	require.Equal(t, broker.KindConflict, broker.KindOf(s.AddRemoteSite(ctx, remote, e)))
	got, err := s.Enrolments(ctx)
	require.NoError(t, err)
	require.Equal(t, []broker.Enrolment{e}, got, "the site whose agent is in the broker has none")

	here := e
	here.Site = f.Site.ID
	require.Equal(t, broker.KindNotFound, broker.KindOf(s.Enrol(ctx, here)), "nobody takes over a site that has its agent here")
	second := remote
	second.ID, second.Name = broker.NewID[broker.SiteID]("sit"), "farther"
	twice := e
	twice.Site = second.ID
	require.Equal(t, broker.KindConflict, broker.KindOf(s.AddRemoteSite(ctx, second, twice)), "one key, one site")

	e.Key, e.SignIn, e.At = []byte("key 2"), "UB", f.now.Add(time.Minute)
	require.NoError(t, s.Enrol(ctx, e))
	got, err = s.Enrolments(ctx)
	require.NoError(t, err)
	require.Equal(t, []broker.Enrolment{e}, got)
}

// alertsKept: an alert grows, and stays of its site.
func alertsKept(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 0)
	ctx := t.Context()
	a := broker.SiteAlert{
		ID: "alr_1", Site: f.Site.ID, Code: "key_unknown", Method: "start", Attempt: "att_1", Key: "abc", Detail: "d", Count: 1,
		First: f.now, Last: f.now,
	}
	b := a
	b.ID, b.Last = "alr_2", f.now.Add(time.Second)
	require.NoError(t, s.RecordAlerts(ctx, []broker.SiteAlert{a, b}))
	a.Count, a.Last = 7, f.now.Add(time.Hour)
	require.NoError(t, s.RecordAlerts(ctx, []broker.SiteAlert{a}))
	old := a
	old.Count, old.Last = 2, f.now
	require.NoError(t, s.RecordAlerts(ctx, []broker.SiteAlert{old}))
	got, err := s.Alerts(ctx, f.Site.ID, 10)
	require.NoError(t, err)
	require.Equal(t, []broker.SiteAlert{a, b}, got, "the newest first, and nothing shrinks")
	foreign := a
	foreign.Site = "another"
	require.Error(t, s.RecordAlerts(ctx, []broker.SiteAlert{foreign}))
	require.NoError(t, s.RecordAlerts(ctx, nil))
	got, err = s.Alerts(ctx, "another", 10)
	require.NoError(t, err)
	require.Empty(t, got)
}
