package order_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/policy/permit"
)

func TestTrustComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	trust := newPlan(t).trust
	b, err := order.EncodeTrust(trust)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "trust.json")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	back, err := order.LoadTrust(path)
	require.NoError(t, err)
	require.Equal(t, trust, back)
	_, err = order.LoadTrust(path + ".missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestATrustFileIsReadStrictly(t *testing.T) {
	t.Parallel()
	b, err := order.EncodeTrust(newPlan(t).trust)
	require.NoError(t, err)
	for _, c := range [][2]string{
		{`{`, `[`},
		{`"schema"`, `"extra": 1, "schema"`},
		{`valico-trust/v1`, `valico-trust/v2`},
		{`"site": "site_one"`, `"site": "site_one", "site": "site_two"`},
		{`-----BEGIN PUBLIC KEY-----`, `-----BEGIN KEY-----`},
		{`"status_max_age_seconds": 900`, `"status_max_age_seconds": 9000000000000`},
		{`"person": "bob@biotech.example"`, `"person": "ada@biotech.example"`},
		{`"isolation": "userns"`, `"isolation": ""`},
	} {
		changed := replaced(string(b), c[0], c[1])
		require.NotEqual(t, b, changed, c[0])
		_, err := order.ParseTrust(changed)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), c[1])
	}
	_, err = order.ParseTrust(make([]byte, 17<<20))
	require.Error(t, err)
}

func TestTrustThatIsOpenOrAmbiguousIsRefused(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*order.Trust, ring){
		"no site":                  func(t *order.Trust, _ ring) { t.Site = "" },
		"no name":                  func(t *order.Trust, _ ring) { t.Name = "" },
		"no isolation":             func(t *order.Trust, _ ring) { t.Isolation = "" },
		"negative epoch":           func(t *order.Trust, _ ring) { t.KeyEpochMin = -1 },
		"status of any age":        func(t *order.Trust, _ ring) { t.StatusMaxAge = 0 },
		"status of a week":         func(t *order.Trust, _ ring) { t.StatusMaxAge = 7 * 24 * time.Hour },
		"ledger key of no form":    func(t *order.Trust, _ ring) { t.Ledger = []string{"x"} },
		"no key":                   func(t *order.Trust, _ ring) { t.Order = []crypto.PublicKey{nil} },
		"order key twice":          func(t *order.Trust, _ ring) { t.Order = append(t.Order, t.Order[0]) },
		"issuer without scope":     func(t *order.Trust, _ ring) { t.Permit[0].Scope = permit.Scope{} },
		"issuer without authority": func(t *order.Trust, _ ring) { t.Permit[0].Issuer = "" },
		"issuer without key id":    func(t *order.Trust, _ ring) { t.Permit[0].KeyID = "" },
		"two issuers of a key id": func(t *order.Trust, r ring) {
			second := t.Permit[0]
			second.Public = r.stranger.Public()
			t.Permit = append(t.Permit, second)
		},
		"status key of nobody":    func(t *order.Trust, _ ring) { t.Status[0].Issuer = "" },
		"officer's key of nobody": func(t *order.Trust, _ ring) { t.Officer[0].Person = "" },
		"dataset without version": func(t *order.Trust, _ ring) { t.Datasets[0].Version = "" },
		"dataset at a moving path": func(t *order.Trust, _ ring) {
			t.Datasets[0].Path = "/srv/../etc"
		},
		"dataset at the root":    func(t *order.Trust, _ ring) { t.Datasets[0].Path = "/" },
		"dataset without digest": func(t *order.Trust, _ ring) { t.Datasets[0].Digest = "" },
		"dataset twice":          func(t *order.Trust, _ ring) { t.Datasets = append(t.Datasets, t.Datasets[0]) },
		"account of two persons": func(t *order.Trust, _ ring) { t.Accounts["eve"] = account },
		"account of no name":     func(t *order.Trust, _ ring) { t.Accounts["eve"] = "" },
	} {
		p := newPlan(t)
		change(&p.trust, p.ring)
		require.Error(t, p.trust.Check(), what)
		_, err := order.EncodeTrust(p.trust)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), what)
	}
}

// noteKey writes an Ed25519 key as a note verifier key.
func noteKey(name string, k ed25519.PublicKey) string {
	key := append([]byte{1}, k...)
	h := sha256.Sum256(append([]byte(name+"\n"), key...))
	return fmt.Sprintf("%s+%08x+%s", name, binary.BigEndian.Uint32(h[:]), base64.StdEncoding.EncodeToString(key))
}

func TestAKeyInAnyTwoRolesIsAnError(t *testing.T) {
	t.Parallel()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	scope := newPlan(t).trust.Permit[0].Scope
	roles := map[order.Role]func(*order.Trust){
		order.RoleOrder: func(t *order.Trust) { t.Order = append(t.Order, public) },
		order.RolePermit: func(t *order.Trust) {
			t.Permit = append(t.Permit, permit.TrustedIssuer{KeyID: "k", Issuer: "i", Public: public, Scope: scope})
		},
		order.RoleStatus: func(t *order.Trust) {
			t.Status = append(t.Status, permit.TrustedStatusKey{KeyID: "k", Issuer: "i", Public: public})
		},
		order.RoleImage:   func(t *order.Trust) { t.Image = append(t.Image, public) },
		order.RoleLedger:  func(t *order.Trust) { t.Ledger = append(t.Ledger, noteKey("other.example", public)) },
		order.RoleOfficer: func(t *order.Trust) { t.Officer = append(t.Officer, order.Officer{Person: "p", Key: public}) },
	}
	for a, first := range roles {
		for b, second := range roles {
			trust := newPlan(t).trust
			first(&trust)
			require.NoError(t, trust.Check(), a)
			if a == b {
				continue
			}
			second(&trust)
			require.Equal(t, order.CodeKeyTwoRoles, broker.CodeOf(trust.Check()), "%s and %s", a, b)
		}
	}
}

// FuzzParseTrust holds that a trust file that is accepted is one that can be
// written, and says the same when read again.
func FuzzParseTrust(f *testing.F) {
	b, err := order.EncodeTrust(planOf(f, fixedRing(f)).trust)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := order.ParseTrust(b)
		if err != nil {
			return
		}
		again, err := order.EncodeTrust(trust)
		require.NoError(t, err)
		back, err := order.ParseTrust(again)
		require.NoError(t, err)
		require.Equal(t, trust, back)
	})
}

// P12: what lies on the node for one order names nobody and nothing else.
func TestTheExtractForAnOrderNamesItsOwnPersonAndDatasetsAlone(t *testing.T) {
	t.Parallel()
	all := order.Trust{
		Site: "site_one", Accounts: map[broker.PersonID]string{"ada@x.example": "ada", "ben@x.example": "ben"},
		Datasets: []order.Dataset{{PURI: "https://d.example/a", Version: "1"}, {PURI: "https://d.example/a", Version: "2"}, {PURI: "https://d.example/b", Version: "1"}},
		Officer:  []order.Officer{{Person: "rita@x.example"}},
	}
	o := broker.WorkOrder{Submitter: "ada@x.example", Mounts: []broker.Mount{
		{Name: "one", PURI: "https://d.example/a", Version: "2"}, {Name: "two", PURI: "https://d.example/a", Version: "2"},
	}}
	got := all.For(o)
	require.Equal(t, map[broker.PersonID]string{"ada@x.example": "ada"}, got.Accounts)
	require.Equal(t, []order.Dataset{{PURI: "https://d.example/a", Version: "2"}}, got.Datasets)
	require.Empty(t, got.Officer)
	require.Len(t, all.Accounts, 2, "the site's own stays whole")
	require.Empty(t, all.For(broker.WorkOrder{Submitter: "eve@x.example"}).Accounts)
}
