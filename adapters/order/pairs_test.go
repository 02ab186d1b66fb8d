package order_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/airlock"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/sign"
	"github.com/valico-hpc/valico/policy/permit"
)

// kind is a type of statement: how it is made with any key, and what the site
// does with bytes that are offered as one.
type kind struct {
	name  string
	role  order.Role
	make  func(tb testing.TB, p *plan, k crypto.Signer) []byte
	check func(tb testing.TB, p *plan, b []byte) error
}

func statement() airlock.Statement {
	return airlock.Statement{Attempt: "att_one", Manifest: digestOf("outputs"), Reviewer: reviewer}
}

func kinds() []kind {
	return []kind{
		{"work order", order.RoleOrder, func(tb testing.TB, p *plan, k crypto.Signer) []byte {
			tb.Helper()
			q := *p
			q.orderKey = k
			signed, _ := q.build(tb)
			return signed.Envelope
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			good, _ := p.build(tb)
			good.Envelope = b
			raw, err := order.Encode(good)
			if err != nil {
				return err
			}
			_, err = order.Decode(raw)
			if err != nil {
				return err
			}
			_, err = order.Verify(tb.Context(), raw, p.trust, order.At{Stage: order.StageAgent, Now: p.now})
			// Beside evidence of another run an order fails later, but its own
			// statement is accepted then.
			switch broker.CodeOf(err) {
			case order.CodeMalformed, order.CodeKeyUnknown, order.CodeKeyRole, order.CodeSignature:
				return err
			}
			return nil
		}},
		{"permit", order.RolePermit, func(tb testing.TB, p *plan, k crypto.Signer) []byte {
			tb.Helper()
			s, err := permit.Sign(p.doc, k, keyID(tb, k))
			require.NoError(tb, err)
			return []byte(s)
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			_, err := permit.Verify(b, p.trust.Permit)
			return err
		}},
		{"status", order.RoleStatus, func(tb testing.TB, p *plan, k crypto.Signer) []byte {
			tb.Helper()
			s, err := permit.SignStatus(p.status, k, keyID(tb, k))
			require.NoError(tb, err)
			return []byte(s)
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			_, err := permit.VerifyStatus(b, p.trust.Status)
			return err
		}},
		{"image signature", order.RoleImage, func(tb testing.TB, _ *plan, k crypto.Signer) []byte {
			tb.Helper()
			b, err := sign.Sign(k, string(digestOf("image")))
			require.NoError(tb, err)
			return b
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			_, err := sign.Verify(b, string(digestOf("image")), p.trust.Image)
			return err
		}},
		{"checkpoint", order.RoleLedger, func(tb testing.TB, _ *plan, k crypto.Signer) []byte {
			tb.Helper()
			b, err := note.Sign(&note.Note{Text: receipt.Checkpoint{Origin: origin}.Text()}, noteSigner{k})
			require.NoError(tb, err)
			return b
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			v, err := note.NewVerifier(p.trust.Ledger[0])
			if err != nil {
				return err
			}
			_, err = receipt.OpenCheckpoint(b, []note.Verifier{v})
			return err
		}},
		{"release", order.RoleOfficer, func(tb testing.TB, p *plan, k crypto.Signer) []byte {
			tb.Helper()
			b, err := order.SignRelease(statement(), p.now, k)
			require.NoError(tb, err)
			return b
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			_, err := order.VerifyRelease(b, p.trust)
			return err
		}},
		{"link request", order.RoleLink, func(tb testing.TB, p *plan, k crypto.Signer) []byte {
			tb.Helper()
			b, err := link.SignRequest(linkRequest(p.now), k)
			require.NoError(tb, err)
			return b
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			_, err := link.VerifyRequest(b, p.trust)
			return err
		}},
		{"link answer", roleAgent, func(tb testing.TB, p *plan, k crypto.Signer) []byte {
			tb.Helper()
			b, err := link.SignAnswer(link.Answer{
				Version: link.Version, Site: p.trust.Site, Request: digestOf("request"), At: p.now, Body: digestOf(""),
			}, k)
			require.NoError(tb, err)
			return b
		}, func(tb testing.TB, p *plan, b []byte) error {
			tb.Helper()
			_, err := link.VerifyAnswer(b, []byte("request"), p.trust.Site, p.agentKey)
			return err
		}},
	}
}

// roleAgent is the role of an agent's own key. The broker pins it, not a site.
const roleAgent order.Role = "agent"

func linkRequest(now time.Time) link.Request {
	return link.NewRequest("site_one", link.MethodStart, []byte("body"), now.Add(time.Minute))
}

// noteSigner signs notes with an Ed25519 key of any role.
type noteSigner struct{ k crypto.Signer }

func (s noteSigner) Name() string { return origin }

func (s noteSigner) KeyHash() uint32 {
	v, err := note.NewVerifier(noteKey(origin, s.k.Public().(ed25519.PublicKey)))
	if err != nil {
		return 0
	}
	return v.KeyHash()
}

func (s noteSigner) Sign(msg []byte) ([]byte, error) { return s.k.Sign(nil, msg, crypto.Hash(0)) }

// TestEveryStatementIsAcceptedAsItselfUnderItsOwnRoleOnly offers each type of
// statement, signed with the key of each role, to each verifier.
func TestEveryStatementIsAcceptedAsItselfUnderItsOwnRoleOnly(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	keys := map[order.Role]crypto.Signer{}
	for _, k := range kinds() {
		_, secret, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		keys[k.role] = secret
	}
	public := func(r order.Role) crypto.PublicKey { return keys[r].Public() }
	p.orderKey, p.permitKey, p.statusKey, p.imageKey = keys[order.RoleOrder], keys[order.RolePermit], keys[order.RoleStatus], keys[order.RoleImage]
	p.ring.permit, p.ring.status = p.permitKey, p.statusKey
	p.trust.Order, p.trust.Image = []crypto.PublicKey{public(order.RoleOrder)}, []crypto.PublicKey{public(order.RoleImage)}
	p.trust.Permit[0].Public, p.trust.Permit[0].KeyID = public(order.RolePermit), keyID(t, p.permitKey)
	p.trust.Status[0].Public, p.trust.Status[0].KeyID = public(order.RoleStatus), keyID(t, p.statusKey)
	p.trust.Officer[0].Key = public(order.RoleOfficer)
	p.trust.Link, p.agentKey = []crypto.PublicKey{public(order.RoleLink)}, public(roleAgent)
	p.trust.Ledger = []string{noteKey(origin, public(order.RoleLedger).(ed25519.PublicKey))}
	require.NoError(t, p.trust.Check())

	accepted := 0
	for _, made := range kinds() {
		for role, key := range keys {
			b := made.make(t, p, key)
			for _, offered := range kinds() {
				err := offered.check(t, p, b)
				if made.role == role && offered.name == made.name {
					require.NoError(t, err, made.name)
					accepted++
					continue
				}
				require.Error(t, err, "a %s signed with the key of %s was accepted as a %s", made.name, role, offered.name)
			}
		}
	}
	require.Equal(t, len(kinds()), accepted)
}

func TestAReleaseIsItsReviewersOwn(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	good, err := order.SignRelease(statement(), p.now, p.ring.officer)
	require.NoError(t, err)
	var verifier airlock.Verifier = p.trust
	s, err := verifier.VerifyRelease(good)
	require.NoError(t, err)
	require.Equal(t, statement(), s)

	sealed := func(payloadType, payload string, k crypto.Signer) []byte {
		b, err := dsse.Sign(payloadType, []byte(payload), k)
		require.NoError(t, err)
		return b
	}
	env, err := dsse.Parse(good)
	require.NoError(t, err)
	body := string(env.Payload)
	other := statement()
	other.Reviewer = "eve@biotech.example"
	byOther, err := order.SignRelease(other, p.now, p.ring.officer)
	require.NoError(t, err)
	byStranger, err := order.SignRelease(statement(), p.now, p.ring.stranger)
	require.NoError(t, err)
	byOrderKey, err := order.SignRelease(statement(), p.now, p.ring.order)
	require.NoError(t, err)
	forged := []byte(string(good)[:len(good)-20] + "AAAA" + string(good)[len(good)-16:])
	for _, c := range []struct {
		code     string
		envelope []byte
	}{
		{order.CodeReleaseMalformed, []byte("{}")},
		{order.CodeReleaseMalformed, sealed(order.PayloadType, body, p.ring.officer)},
		{order.CodeReleaseMalformed, sealed(order.ReleasePayloadType, body+" ", p.ring.officer)},
		{order.CodeReleaseMalformed, sealed(order.ReleasePayloadType, `{"schema":"valico-release/v1"}`, p.ring.officer)},
		{order.CodeReleaseMalformed, sealed(order.ReleasePayloadType, string(replaced(body, `"attempt"`, `"extra":1,"attempt"`)), p.ring.officer)},
		{order.CodeReleaseKeyUnknown, byStranger},
		{order.CodeReleaseKeyRole, byOrderKey},
		{order.CodeReleaseReviewer, byOther},
		{order.CodeReleaseSignature, forged},
	} {
		_, err := order.VerifyRelease(c.envelope, p.trust)
		require.Equal(t, c.code, broker.CodeOf(err), "%s", c.envelope)
	}
	for _, bad := range []airlock.Statement{{}, {Attempt: "a", Manifest: "sha256:1", Reviewer: "r"}, {Attempt: "a", Manifest: digestOf("")}} {
		_, err := order.SignRelease(bad, p.now, p.ring.officer)
		require.Error(t, err)
	}
	_, err = order.SignRelease(statement(), time.Time{}, p.ring.officer)
	require.Error(t, err)
	_, err = order.SignRelease(statement(), p.now, nil)
	require.Error(t, err)
}
