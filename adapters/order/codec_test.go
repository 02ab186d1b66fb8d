package order_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// forge changes the signed order inside its envelope and keeps the signature.
func forge(tb testing.TB) func([]byte) []byte {
	tb.Helper()
	return func(raw []byte) []byte {
		o, err := order.Decode(raw)
		require.NoError(tb, err)
		env, err := dsse.Parse(o.Envelope)
		require.NoError(tb, err)
		was := base64.StdEncoding.EncodeToString(env.Payload)
		now := base64.StdEncoding.EncodeToString(replaced(string(env.Payload), `"telemetry":"full"`, `"telemetry":"none"`))
		require.NotEqual(tb, was, now)
		o.Envelope = replaced(string(o.Envelope), was, now)
		forged, err := order.Encode(o)
		require.NoError(tb, err)
		return forged
	}
}

func name(t *rapid.T) string { return rapid.StringMatching(`[a-z][a-z0-9_]{0,12}`).Draw(t, "name") }

func dig(t *rapid.T) broker.Digest {
	return broker.DigestOf([]byte(rapid.String().Draw(t, "bytes")))
}

func slice[T any](t *rapid.T, gen func(*rapid.T) T) []T {
	s := rapid.SliceOfN(rapid.Custom(gen), 0, 3).Draw(t, "list")
	if len(s) == 0 {
		return nil
	}
	return s
}

func anyOrder(t *rapid.T) broker.WorkOrder {
	start := time.UnixMicro(rapid.Int64Range(1e15, 1e16).Draw(t, "start")).UTC()
	o := broker.WorkOrder{
		ID: broker.OrderID(name(t)), Site: broker.SiteID(name(t)), Account: name(t), KeyEpoch: rapid.IntRange(0, 1e6).Draw(t, "epoch"),
		NotBefore: start, NotAfter: start.Add(time.Duration(rapid.Int64Range(1, 1e9).Draw(t, "µs")) * time.Microsecond),
		Tenant: broker.TenantID(name(t)), Job: broker.JobID(name(t)), Attempt: broker.AttemptID(name(t)), Submitter: broker.PersonID(name(t)),
		Spec: dig(t), Permit: dig(t), Clearance: dig(t), Image: dig(t),
		Command: append([]string{name(t)}, rapid.SliceOfN(rapid.StringMatching(`[^\x00]{0,9}`), 0, 3).Draw(t, "args")...),
		Network: name(t), Telemetry: name(t), Lease: rapid.SampledFrom([]string{"", "l"}).Draw(t, "lease"),
		WorkDir: rapid.SampledFrom([]string{"", "/", "/a/b"}).Draw(t, "dir"),
		Env: slice(t, func(t *rapid.T) broker.EnvVar {
			return broker.EnvVar{Name: name(t), Value: rapid.StringMatching(`[^\x00]{0,9}`).Draw(t, "v")}
		}),
		Outputs: slice(t, func(t *rapid.T) broker.OutputSpec { return broker.OutputSpec{Path: name(t), Type: name(t)} }),
		Limits: broker.Resources{
			Nodes: rapid.IntRange(1, 99).Draw(t, "n"), GPUsPerNode: rapid.IntRange(0, 9).Draw(t, "g"), GPUType: name(t),
			CPUsPerNode: rapid.IntRange(1, 99).Draw(t, "c"), MemoryMiB: rapid.IntRange(1, 1e6).Draw(t, "m"),
			Walltime: time.Duration(rapid.IntRange(1, 1e6).Draw(t, "w")) * time.Second,
		},
	}
	seen := map[string]bool{}
	for _, m := range slice(t, func(t *rapid.T) broker.Mount {
		return broker.Mount{Name: name(t), PURI: name(t), Version: name(t), Digest: dig(t)}
	}) {
		if !seen[m.Name] {
			o.Mounts = append(o.Mounts, m)
		}
		seen[m.Name] = true
	}
	return o
}

func TestAnOrderComesBackAsItWasSigned(t *testing.T) {
	t.Parallel()
	key, err := dsse.GenerateKey()
	require.NoError(t, err)
	signer, err := order.NewSigner(key)
	require.NoError(t, err)
	rapid.Check(t, func(rt *rapid.T) {
		o := anyOrder(rt)
		e := broker.Evidence{Spec: []byte(rapid.String().Draw(rt, "spec")), Permit: []byte("p"), Signature: []byte{0, 255}}
		if len(e.Spec) == 0 {
			e.Spec = nil
		}
		signed, err := signer.Sign(t.Context(), o, e)
		require.NoError(rt, err)
		require.Equal(rt, o, signed.Order)
		b, err := order.Encode(signed)
		require.NoError(rt, err)
		back, err := order.Decode(b)
		require.NoError(rt, err)
		require.Equal(rt, signed, back)
	})
}

func TestAnOrderThatCouldBeMisreadIsNotSigned(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	good, _ := p.build(t)
	signer, err := order.NewSigner(p.ring.order)
	require.NoError(t, err)
	for what, change := range map[string]func(*broker.WorkOrder){
		"no id": func(o *broker.WorkOrder) { o.ID = "" }, "no site": func(o *broker.WorkOrder) { o.Site = "" },
		"attempt that is a path":  func(o *broker.WorkOrder) { o.Attempt = "../x" },
		"account that is hidden":  func(o *broker.WorkOrder) { o.Account = ".." },
		"no submitter":            func(o *broker.WorkOrder) { o.Submitter = "" },
		"image that is a tag":     func(o *broker.WorkOrder) { o.Image = "latest" },
		"no command":              func(o *broker.WorkOrder) { o.Command = nil },
		"empty program":           func(o *broker.WorkOrder) { o.Command = []string{""} },
		"NUL in the command":      func(o *broker.WorkOrder) { o.Command = []string{"a", "\x00"} },
		"not UTF-8":               func(o *broker.WorkOrder) { o.Command = []string{"\xff"} },
		"relative folder":         func(o *broker.WorkOrder) { o.WorkDir = "a" },
		"folder with dots":        func(o *broker.WorkOrder) { o.WorkDir = "/a/../b" },
		"mount that is a path":    func(o *broker.WorkOrder) { o.Mounts = []broker.Mount{{Name: "a/b", Digest: digestOf("")}} },
		"mount above":             func(o *broker.WorkOrder) { o.Mounts = []broker.Mount{{Name: "..", Digest: digestOf("")}} },
		"mount twice":             func(o *broker.WorkOrder) { o.Mounts = append(o.Mounts, o.Mounts...) },
		"mount without digest":    func(o *broker.WorkOrder) { o.Mounts = []broker.Mount{{Name: "a"}} },
		"variable with =":         func(o *broker.WorkOrder) { o.Env = []broker.EnvVar{{Name: "A=B"}} },
		"no walltime":             func(o *broker.WorkOrder) { o.Limits.Walltime = 0 },
		"fraction of a second":    func(o *broker.WorkOrder) { o.Limits.Walltime = time.Second / 2 },
		"no nodes":                func(o *broker.WorkOrder) { o.Limits.Nodes = 0 },
		"negative GPUs":           func(o *broker.WorkOrder) { o.Limits.GPUsPerNode = -1 },
		"negative epoch":          func(o *broker.WorkOrder) { o.KeyEpoch = -1 },
		"no time":                 func(o *broker.WorkOrder) { o.NotBefore = time.Time{} },
		"no time between":         func(o *broker.WorkOrder) { o.NotAfter = o.NotBefore },
		"site with a line's end":  func(o *broker.WorkOrder) { o.Site = "a\nb" },
		"network is not answered": func(o *broker.WorkOrder) { o.Network = "" },
	} {
		o := good.Order
		change(&o)
		_, err := signer.Sign(t.Context(), o, good.Evidence)
		require.Error(t, err, what)
	}
	_, err = order.NewSigner(nil)
	require.Error(t, err)
	_, err = order.Encode(broker.SignedOrder{})
	require.Error(t, err)
}

func TestAStatementHasOneSpelling(t *testing.T) {
	t.Parallel()
	p := newPlan(t)
	signed, _ := p.build(t)
	env, err := dsse.Parse(signed.Envelope)
	require.NoError(t, err)
	for _, c := range [][2]string{
		{`{"_type"`, `{ "_type"`},
		{`"subject":[{`, `"subject":[{"name":"x",`},
		{order.PredicateType, "https://sigstore.dev/cosign/sign/v1"},
		{order.StatementType, "https://in-toto.io/Statement/v0.1"},
		{`"lease":""`, `"lease":"","lease":""`},
		{`"lease":"",`, ``},
		{`"lease":""`, `"lease":null`},
		{`"key_epoch":2`, `"key_epoch":2.0`},
		{`00.000000Z`, `00.000000000Z`},
		{`00.000000Z`, `00.000000+00:00`},
		{`"walltime_seconds":600`, `"walltime_seconds":-600`},
		{`"walltime_seconds":600`, `"walltime_seconds":9223372036854775807`},
	} {
		payload := replaced(string(env.Payload), c[0], c[1])
		require.NotEqual(t, env.Payload, payload, c[0])
		envelope, err := dsse.Sign(order.PayloadType, payload, p.ring.order)
		require.NoError(t, err)
		raw, err := order.Encode(broker.SignedOrder{Envelope: envelope, Evidence: signed.Evidence})
		require.NoError(t, err)
		_, err = order.Decode(raw)
		require.Equal(t, order.CodeMalformed, broker.CodeOf(err), c[1])
	}
}

// FuzzDecode holds that what Decode accepts is exactly what Encode writes.
func FuzzDecode(f *testing.F) {
	p := planOf(f, fixedRing(f))
	_, raw := p.build(f)
	f.Add(raw)
	f.Add([]byte(`{"envelope":"","evidence":{}}`))
	f.Add([]byte(strings.Repeat("[", 1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := order.Decode(b)
		if err != nil {
			require.Equal(t, order.CodeMalformed, broker.CodeOf(err))
			return
		}
		again, err := order.Encode(o)
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func BenchmarkVerify(b *testing.B) {
	p := newPlan(b)
	_, raw := p.build(b)
	at := order.At{Stage: order.StageNode, Now: p.now, Account: account}
	for b.Loop() {
		if _, err := order.Verify(b.Context(), raw, p.trust, at); err != nil {
			b.Fatal(err)
		}
	}
}
