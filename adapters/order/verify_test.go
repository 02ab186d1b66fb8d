package order_test

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

func TestAValidOrderPassesAtBothStages(t *testing.T) {
	t.Parallel()
	for _, stage := range stages() {
		p := newPlan(t)
		v, err := p.verify(t, stage)
		require.NoError(t, err, stage)
		require.Equal(t, broker.AttemptID("att_one"), v.Order.Attempt)
		require.Equal(t, p.spec, v.Spec)
		require.Equal(t, []order.Mount{{
			Name: "cohort", Path: "/srv/data/cohort", PURI: p.doc.Datasets[0].PURI, Version: "1", Digest: digestOf("cohort"),
		}}, v.Mounts)
		require.Equal(t, []broker.EnvVar{{Name: "SEED", Value: "7"}}, v.Env)
		require.Equal(t, "/work", v.WorkDir)
		require.Equal(t, broker.IsolationUserNS, v.Isolation)
		require.Equal(t, permit.StatusGranted, v.Status.Status)
		require.Equal(t, int64(0), v.Receipt.Index)
		require.True(t, v.Digest.Valid())
	}
}

// TestEachBreakageIsRefusedWithItsCodeAlone is the table of promise P2.
func TestEachBreakageIsRefusedWithItsCodeAlone(t *testing.T) {
	t.Parallel()
	for _, b := range breakages() {
		t.Run(b.code+"/"+b.name, func(t *testing.T) {
			t.Parallel()
			for _, stage := range stages() {
				p := newPlan(t)
				b.do(t, p)
				if p.ledgerKey == nil {
					p.ledgerKey = newRing(t).ledger
				}
				if b.name == "run as another account" && stage == order.StageAgent {
					p.at.Account = "ehds0002"
				}
				v, err := p.verify(t, stage)
				require.Error(t, err, stage)
				require.Equal(t, b.code, broker.CodeOf(err), "%s: %v", stage, err)
				require.Equal(t, broker.KindForbidden, broker.KindOf(err))
				require.Zero(t, v)
				var e *broker.Error
				require.ErrorAs(t, err, &e)
				for _, text := range []string{e.Message, e.Rule, e.Help, e.Who} {
					require.NotEmpty(t, text)
				}
			}
		})
	}
}

func TestARefusalShowsTheValueAndHidesTheCause(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	p.status.Status, p.status.Reason = permit.StatusRevoked, "withheld"
	_, err := p.verify(t, order.StageAgent)
	var e *broker.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, permit.StatusRevoked, e.Value)
	require.Error(t, e.Err)
	require.NotContains(t, err.Error(), "withheld")

	long := order.Refuse("no_such_code", strings.Repeat("x", 1000), nil)
	require.Less(t, len(long.Value), 300)
	require.NotEmpty(t, long.Message)
}

func TestEveryCodeHasABreakage(t *testing.T) {
	t.Parallel()
	broken := map[string]bool{}
	for _, b := range breakages() {
		broken[b.code] = true
	}
	for _, code := range order.Codes() {
		require.True(t, broken[code], code)
	}
	require.Len(t, broken, len(order.Codes()))
}

func TestCodesAreInTheOrderThatSitesAndBrokerAgreedOn(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"order_malformed", "order_key_unknown", "order_key_role", "order_signature", "key_epoch", "wrong_site", "wrong_account",
		"order_not_yet", "order_expired", "submitter_mismatch", "spec_mismatch", "permit_signature", "permit_scope", "permit_expired",
		"permit_status", "clearance_mismatch", "receipt_invalid", "image_signature", "image_tampered", "mount_not_synthetic",
		"command_mismatch", "limits_mismatch", "second_start",
	}, order.Codes())
}

// TestTheFirstBrokenThingIsTheOneReported breaks two things at a time: the
// code is that of the earlier check, whatever comes after.
func TestTheFirstBrokenThingIsTheOneReported(t *testing.T) {
	t.Parallel()
	rank := map[string]int{}
	for i, code := range order.Codes() {
		rank[code] = i
	}
	first := map[string]breakage{}
	for _, b := range orderBreakages() {
		if b.code == order.CodeKeyEpoch || b.code == order.CodeNotYet {
			first[b.code] = b
		}
	}
	for _, a := range first {
		for _, b := range append(permitBreakages(), runBreakages()...) {
			if b.name == "order names another permit" || b.name == "order names another clearance" || rank[b.code] <= rank[a.code] {
				continue
			}
			p := newPlan(t)
			b.do(t, p)
			edit := p.order
			a.do(t, p)
			mine := p.order
			p.order = func(o *broker.WorkOrder) {
				if edit != nil {
					edit(o)
				}
				if mine != nil {
					mine(o)
				}
			}
			if p.ledgerKey == nil {
				p.ledgerKey = p.ring.ledger
			}
			_, err := p.verify(t, order.StageNode)
			require.Equal(t, a.code, broker.CodeOf(err), "%s and %s", a.name, b.name)
		}
	}
}

func TestABaseImageMayAddVariablesButChangeNone(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	p.spec.Image.Base = string(digestOf("base"))
	p.config.Config.Env = []string{"PATH=/bin", "SEED=7"}
	v, err := p.verify(t, order.StageNode)
	require.NoError(t, err)
	require.Equal(t, []broker.EnvVar{{Name: "PATH", Value: "/bin"}, {Name: "SEED", Value: "7"}}, v.Env)

	p.config.Config.Env = []string{"PATH=/bin", "SEED=8"}
	_, err = p.verify(t, order.StageNode)
	require.Equal(t, order.CodeCommand, broker.CodeOf(err))
	p.config.Config.Env = []string{"VALICO_METRICS=/x", "SEED=7"}
	_, err = p.verify(t, order.StageNode)
	require.Equal(t, order.CodeCommand, broker.CodeOf(err))
}

func TestAnImageWithoutAFolderStartsAtTheRoot(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", "/"} {
		p := newPlan(t)
		p.spec.Image.WorkDir, p.config.Config.WorkingDir = "", dir
		v, err := p.verify(t, order.StageNode)
		require.NoError(t, err)
		require.Equal(t, "/", v.WorkDir)
	}
}

func TestNothingIsVerifiedWithoutAMoment(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	_, raw := p.build(t)
	for _, at := range []order.At{
		{}, {Stage: order.StageAgent}, {Now: p.now}, {Stage: order.StageNode, Now: p.now}, {Stage: "elsewhere", Now: p.now, Account: account},
	} {
		_, err := order.Verify(t.Context(), raw, p.trust, at)
		require.Equal(t, "verify_moment", broker.CodeOf(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := order.Verify(ctx, raw, p.trust, order.At{Stage: order.StageAgent, Now: p.now})
	require.ErrorIs(t, err, context.Canceled)
	p.trust.Order = []crypto.PublicKey{p.ring.image.Public()}
	_, err = order.Verify(t.Context(), raw, p.trust, order.At{Stage: order.StageAgent, Now: p.now})
	require.Equal(t, order.CodeKeyTwoRoles, broker.CodeOf(err))
}

func TestTheBoundariesOfTimeBelongToTheOrder(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	p.order = func(o *broker.WorkOrder) { o.NotBefore = p.now }
	_, err := p.verify(t, order.StageAgent)
	require.NoError(t, err)
	p.order = func(o *broker.WorkOrder) { o.NotAfter = p.now }
	_, err = p.verify(t, order.StageAgent)
	require.NoError(t, err)
	p.order = nil
	p.period(p.now, p.now.Add(10*time.Minute))
	_, err = p.verify(t, order.StageAgent)
	require.NoError(t, err)
	p.status.At = p.now.Add(-15 * time.Minute)
	_, err = p.verify(t, order.StageAgent)
	require.NoError(t, err)
}

// TestNoByteOfAnOrderMayChange flips bytes all over order.json.
func TestNoByteOfAnOrderMayChange(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	_, raw := p.build(t)
	for i := 0; i < len(raw); i += 7 {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		_, err := order.Verify(t.Context(), changed, p.trust, order.At{Stage: order.StageNode, Now: p.now, Account: account})
		require.Error(t, err, fmt.Sprintf("byte %d, %q", i, raw[max(0, i-20):min(len(raw), i+20)]))
	}
}

func TestPackageReachesNoNetworkCodeAndNoPolicyEngine(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/valico-hpc/valico/adapters/order").Output()
	require.NoError(t, err)
	for _, pkg := range []string{"net/http\n", "open-policy-agent", "modernc.org/sqlite", "nats"} {
		require.NotContains(t, string(out), pkg)
	}
}

// FuzzVerify offers any statement, signed with the order key, beside any
// evidence: what is accepted is the one order that was made, with its evidence.
func FuzzVerify(f *testing.F) {
	p := planOf(f, fixedRing(f))
	signed, _ := p.build(f)
	env, err := dsse.Parse(signed.Envelope)
	require.NoError(f, err)
	e := signed.Evidence
	f.Add(env.Payload, e.Spec, e.Permit, e.Status, e.Clearance, e.Receipt, e.Manifest, e.Config, e.Signature)
	f.Fuzz(func(t *testing.T, payload, spec, jws, status, clearance, rec, manifest, config, signature []byte) {
		envelope, err := dsse.Sign(order.PayloadType, payload, p.ring.order)
		require.NoError(t, err)
		b, err := order.Encode(broker.SignedOrder{Envelope: envelope, Evidence: broker.Evidence{
			Spec: spec, Permit: jws, Status: status, Clearance: clearance, Receipt: rec, Manifest: manifest, Config: config, Signature: signature,
		}})
		require.NoError(t, err)
		v, err := order.Verify(t.Context(), b, p.trust, order.At{Stage: order.StageNode, Now: p.now, Account: account})
		if err != nil {
			require.Contains(t, order.Codes(), broker.CodeOf(err))
			return
		}
		require.Equal(t, signed.Order.Image, v.Order.Image)
		require.Equal(t, signed.Order.Command, v.Order.Command)
		require.Equal(t, p.spec, v.Spec)
	})
}
