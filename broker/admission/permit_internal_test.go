package admission

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

// What is remembered must be what verifying again would find: of a permit that
// was good and is revoked, of the same permit under another status, of bytes
// that were changed, and for callers at once.
func TestARememberedCheckIsWhatVerifyingAgainWouldFind(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 5, 4, 10, 0, 0, 0, time.UTC)
	doc := permit.Template(now)
	pk, err := dsse.GenerateKey()
	require.NoError(t, err)
	sk, err := dsse.GenerateKey()
	require.NoError(t, err)
	pid, err := permit.KeyID(pk.Public())
	require.NoError(t, err)
	sid, err := permit.KeyID(sk.Public())
	require.NoError(t, err)
	trust := Trust{
		Issuers: []permit.TrustedIssuer{{KeyID: pid, Public: pk.Public(), Issuer: doc.Issuer.HDAB, Scope: permit.Scope{
			Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{doc.Datasets[0].PURI},
			Holders: []string{doc.Datasets[0].Holder}, SyntheticOnly: true,
		}}},
		StatusKeys:   []permit.TrustedStatusKey{{KeyID: sid, Public: sk.Public(), Issuer: doc.Issuer.HDAB}},
		StatusMaxAge: time.Minute,
	}
	jws, err := permit.Sign(doc, pk, pid)
	require.NoError(t, err)
	state := func(s string) []byte {
		st, err := permit.SignStatus(permit.Status{PermitID: doc.ID, Version: doc.Version, Status: s, At: now}, sk, sid)
		require.NoError(t, err)
		return []byte(st)
	}
	other := doc
	other.ID = "another"
	otherJWS, err := permit.Sign(other, pk, pid)
	require.NoError(t, err)
	granted, revoked := state(permit.StatusGranted), state(permit.StatusRevoked)
	changed := append([]byte(jws[:len(jws)-4]), "AAAA"...)
	recs := []broker.PermitRecord{
		{JWS: []byte(jws), Status: granted},
		{JWS: []byte(jws), Status: revoked},
		{JWS: []byte(jws)},
		{JWS: changed, Status: granted},
		{JWS: []byte(otherJWS), Status: granted}, // a status of another permit is none
		{JWS: granted, Status: []byte(jws)},      // the two in each other's place
	}
	c := newChecks(trust)
	var g errgroup.Group
	for i := range 8 * len(recs) {
		g.Go(func() error {
			rec := recs[i%len(recs)]
			rec.Digest = broker.DigestOf(fmt.Append(nil, i))
			if want, got := trust.Check(rec), c.check(rec); !assert.Equal(t, want, got) {
				return fmt.Errorf("permit %d differs", i%len(recs))
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, permit.StatusGranted, c.check(recs[0]).Status)
	require.Equal(t, permit.StatusRevoked, c.check(recs[1]).Status)
	require.False(t, c.check(recs[3]).Verified)
	require.Empty(t, c.check(recs[4]).Status)
	require.Len(t, c.known, len(recs))
}

func TestTheMemoryOfChecksIsBounded(t *testing.T) {
	t.Parallel()
	c := newChecks(Trust{})
	for i := range maxChecks + 10 {
		require.False(t, c.check(broker.PermitRecord{JWS: fmt.Append(nil, i)}).Verified)
	}
	require.LessOrEqual(t, len(c.known), maxChecks)
}
