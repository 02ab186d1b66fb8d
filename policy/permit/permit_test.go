package permit_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy/permit"
)

var now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

const kid = "key-1"

func p256(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	return k
}

func ed(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	return k
}

func trusted(k crypto.Signer) []permit.TrustedIssuer {
	return []permit.TrustedIssuer{{
		KeyID: kid, Public: k.Public(), Issuer: "hdab-sandbox",
		Scope: permit.Scope{
			Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"},
			Holders: []string{"holder-sandbox"}, SyntheticOnly: true,
		},
	}}
}

func statusKeys(k crypto.Signer) []permit.TrustedStatusKey {
	return []permit.TrustedStatusKey{{KeyID: kid, Public: k.Public(), Issuer: "hdab-sandbox"}}
}

func status() permit.Status {
	return permit.Status{PermitID: "sandbox-2026-03-02", Version: 1, Status: permit.StatusGranted, At: now, Reason: "r"}
}

// forge makes a token of any header and payload, as another tool could.
func forge(tb testing.TB, header, payload string, k ed25519.PrivateKey) []byte {
	tb.Helper()
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	return []byte(input + "." + b64.EncodeToString(ed25519.Sign(k, []byte(input))))
}

func parts(tb testing.TB, compact string) (header, payload string) {
	tb.Helper()
	ps := strings.Split(compact, ".")
	require.Len(tb, ps, 3)
	h, err := base64.RawURLEncoding.DecodeString(ps[0])
	require.NoError(tb, err)
	p, err := base64.RawURLEncoding.DecodeString(ps[1])
	require.NoError(tb, err)
	return string(h), string(p)
}

func TestASignedPermitComesBackAsItWas(t *testing.T) {
	t.Parallel()
	doc := permit.Template(now)
	doc.Conditions = []permit.Condition{{ID: "c1", Text: "<none> & \u00e8"}}
	for _, k := range []crypto.Signer{p256(t), ed(t)} {
		s, err := permit.Sign(doc, k, kid)
		require.NoError(t, err)
		v, err := permit.Verify([]byte(s), trusted(k))
		require.NoError(t, err)
		require.Equal(t, permit.Verified{Document: doc, KeyID: kid, Issuer: "hdab-sandbox"}, v)

		st, err := permit.SignStatus(status(), k, kid)
		require.NoError(t, err)
		got, err := permit.VerifyStatus([]byte(st), statusKeys(k))
		require.NoError(t, err)
		want := status()
		want.KeyID, want.Issuer = kid, "hdab-sandbox"
		require.Equal(t, want, got)
	}
}

func TestTheHeaderIsExactlyAlgKidAndTyp(t *testing.T) {
	t.Parallel()
	s, err := permit.Sign(permit.Template(now), ed(t), kid)
	require.NoError(t, err)
	header, _ := parts(t, s)
	require.Equal(t, `{"alg":"EdDSA","kid":"key-1","typ":"ehds-permit+jwt"}`, header)
}

func TestEqualPermitsHaveEqualPayloads(t *testing.T) {
	t.Parallel()
	a, err := permit.Sign(permit.Template(now), p256(t), kid)
	require.NoError(t, err)
	b, err := permit.Sign(permit.Template(now), ed(t), kid)
	require.NoError(t, err)
	_, pa := parts(t, a)
	_, pb := parts(t, b)
	require.Equal(t, pa, pb)
}

func TestEachForgeryIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	k, stranger := ed(t), ed(t)
	good, err := permit.Sign(permit.Template(now), k, kid)
	require.NoError(t, err)
	header, payload := parts(t, good)
	sub := func(s, from, to string) string {
		out := strings.Replace(s, from, to, 1)
		require.NotEqual(t, s, out, from)
		return out
	}
	ps := strings.Split(good, ".")
	ecKey := p256(t)
	ecToken, err := permit.Sign(permit.Template(now), ecKey, kid)
	require.NoError(t, err)
	for _, c := range []struct {
		code, name string
		token      []byte
	}{
		{permit.CodeMalformed, "nothing", nil},
		{permit.CodeMalformed, "too long", make([]byte, permit.MaxBytes+1)},
		{permit.CodeMalformed, "two parts", []byte(ps[0] + "." + ps[1])},
		{permit.CodeMalformed, "four parts", []byte(good + ".x")},
		{permit.CodeMalformed, "empty signature", []byte(ps[0] + "." + ps[1] + ".")},
		{permit.CodeMalformed, "padding", []byte(ps[0] + "=." + ps[1] + "." + ps[2])},
		{permit.CodeMalformed, "line end", []byte(good + "\n")},
		{permit.CodeMalformed, "space before", []byte(" " + good)},
		{permit.CodeMalformed, "JSON serialisation", []byte(`{"payload":"","signatures":[]}`)},
		{permit.CodeMalformed, "status type", forge(t, sub(header, "ehds-permit+jwt", "ehds-permit-status+jwt"), payload, k)},
		{permit.CodeMalformed, "no type", forge(t, `{"alg":"EdDSA","kid":"key-1"}`, payload, k)},
		{permit.CodeMalformed, "no kid", forge(t, `{"alg":"EdDSA","typ":"ehds-permit+jwt"}`, payload, k)},
		{permit.CodeMalformed, "brings its own key", forge(t, sub(header, `{`, `{"jwk":{"kty":"OKP"},`), payload, k)},
		{permit.CodeMalformed, "critical extension", forge(t, sub(header, `{`, `{"crit":["b64"],"b64":false,`), payload, k)},
		{permit.CodeMalformed, "kid twice", forge(t, sub(header, `{`, `{"kid":"key-2",`), payload, k)},
		{permit.CodeMalformed, "unknown member", forge(t, header, sub(payload, `{`, `{"extra":1,`), k)},
		{permit.CodeMalformed, "repeated member", forge(t, header, sub(payload, `{`, `{"id":"x",`), k)},
		{permit.CodeMalformed, "another case", forge(t, header, sub(payload, `"persons"`, `"Persons"`), k)},
		{permit.CodeMalformed, "another schema", forge(t, header, sub(payload, permit.Schema, "ehds-permit/v2"), k)},
		{permit.CodeMalformed, "not an object", forge(t, header, `[]`, k)},
		{permit.CodeMalformed, "two values", forge(t, header, payload+payload, k)},
		{permit.CodeKeyUnknown, "key of nobody", forge(t, sub(header, kid, "key-2"), payload, k)},
		{permit.CodeSignature, "another key", forge(t, header, payload, stranger)},
		{permit.CodeSignature, "payload changed", []byte(ps[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(sub(payload, `"max_gpus":8`, `"max_gpus":9`))) + "." + ps[2])},
		{permit.CodeSignature, "alg none", forge(t, sub(header, "EdDSA", "none"), payload, k)},
		{permit.CodeSignature, "alg HS256", forge(t, sub(header, "EdDSA", "HS256"), payload, k)},
		{permit.CodeSignature, "alg of another kind of key", []byte(ecToken)},
		{permit.CodeScope, "another authority", forge(t, header, sub(payload, `"hdab-sandbox"`, `"hdab-other"`), k)},
	} {
		v, err := permit.Verify(c.token, trusted(k))
		require.Equal(t, c.code, permit.CodeOf(err), "%s: %v", c.name, err)
		if c.code != permit.CodeScope {
			require.Zero(t, v, c.name)
		}
	}
}

func TestNothingIsVerifiedWithAKeyThatIsNamedTwice(t *testing.T) {
	t.Parallel()
	k := ed(t)
	s, err := permit.Sign(permit.Template(now), k, kid)
	require.NoError(t, err)
	_, err = permit.Verify([]byte(s), append(trusted(k), trusted(ed(t))...))
	require.Equal(t, permit.CodeKeyUnknown, permit.CodeOf(err))
	_, err = permit.Verify([]byte(s), nil)
	require.Equal(t, permit.CodeKeyUnknown, permit.CodeOf(err))
}

func TestKeysOfOtherKindsAreRefused(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, err = permit.Sign(permit.Template(now), p384, kid)
	require.Error(t, err)
	_, err = permit.Sign(permit.Template(now), nil, kid)
	require.Error(t, err)
	_, err = permit.Sign(permit.Template(now), ed(t), "")
	require.Error(t, err)
	_, err = permit.KeyID(p384.Public())
	require.Error(t, err)
	_, err = permit.KeyID("x")
	require.Error(t, err)
	id, err := permit.KeyID(ed(t).Public())
	require.NoError(t, err)
	require.Len(t, id, base64.RawURLEncoding.EncodedLen(sha256.Size))

	good, err := permit.Sign(permit.Template(now), p256(t), kid)
	require.NoError(t, err)
	_, err = permit.Verify([]byte(good), trusted(p384))
	require.Equal(t, permit.CodeSignature, permit.CodeOf(err))
}

func TestAPermitAndAStatusAreNoSubstituteForEachOther(t *testing.T) {
	t.Parallel()
	k := ed(t)
	p, err := permit.Sign(permit.Template(now), k, kid)
	require.NoError(t, err)
	s, err := permit.SignStatus(status(), k, kid)
	require.NoError(t, err)
	_, err = permit.VerifyStatus([]byte(p), statusKeys(k))
	require.Equal(t, permit.CodeMalformed, permit.CodeOf(err))
	_, err = permit.Verify([]byte(s), trusted(k))
	require.Equal(t, permit.CodeMalformed, permit.CodeOf(err))
}

func TestAStatusStatementIsStrict(t *testing.T) {
	t.Parallel()
	k := ed(t)
	good, err := permit.SignStatus(status(), k, kid)
	require.NoError(t, err)
	header, payload := parts(t, good)
	for _, c := range [][2]string{
		{permit.StatusSchema, "x"},
		{`"permit_id":"sandbox-2026-03-02"`, `"permit_id":""`},
		{`"version":1`, `"version":0`},
		{"GRANTED", "OK"},
		{"09:00:00Z", "09:00:00+01:00"},
		{"2026-03-02T", "2026-03-02 "},
		{`{`, `{"extra":1,`},
		{`{`, `{"version":2,`},
	} {
		changed := strings.Replace(payload, c[0], c[1], 1)
		require.NotEqual(t, payload, changed)
		_, err := permit.VerifyStatus(forge(t, header, changed, k), statusKeys(k))
		require.Equal(t, permit.CodeMalformed, permit.CodeOf(err), c[1])
	}
	_, err = permit.VerifyStatus([]byte(good), statusKeys(ed(t)))
	require.Equal(t, permit.CodeSignature, permit.CodeOf(err))
	_, err = permit.VerifyStatus([]byte(good), nil)
	require.Equal(t, permit.CodeKeyUnknown, permit.CodeOf(err))
	_, err = permit.SignStatus(permit.Status{}, k, kid)
	require.Error(t, err)
}

func TestOnlyThreeStatusesAreActive(t *testing.T) {
	t.Parallel()
	for _, s := range []string{permit.StatusGranted, permit.StatusAmended, permit.StatusRenewed} {
		require.True(t, permit.Active(s), s)
	}
	for _, s := range []string{permit.StatusRevoked, permit.StatusExpired, permit.StatusSuspended, "", "granted"} {
		require.False(t, permit.Active(s), s)
	}
}

func TestErrorsSayWhatIsWrongAndKeepTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := fmt.Errorf("import: %w", &permit.Error{Code: permit.CodeSignature, Message: "m", Value: "v", Err: cause})
	require.ErrorIs(t, err, cause)
	require.Equal(t, "import: m (v): cause", err.Error())
	require.Equal(t, permit.CodeSignature, permit.CodeOf(err))
	require.Empty(t, permit.CodeOf(cause))
}

func TestPackageReachesNoNetworkCodeAndNothingOfOurs(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/valico-hpc/valico/policy/permit").Output()
	require.NoError(t, err)
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		require.NotEqual(t, "net/http", pkg)
		if strings.HasPrefix(pkg, "github.com/valico-hpc/") {
			require.Equal(t, "github.com/valico-hpc/valico/policy/permit", pkg)
		}
	}
}

// FuzzVerify signs any header and payload with the trusted key: what is
// accepted must be a permit of this schema, by its own authority, in scope,
// and signing it again must give the same document.
func FuzzVerify(f *testing.F) {
	k := ed(f)
	good, err := permit.Sign(permit.Template(now), k, kid)
	require.NoError(f, err)
	header, payload := parts(f, good)
	f.Add(header, payload)
	f.Add(header, strings.Replace(payload, `{`, `{"id":"x",`, 1))
	f.Add(`{"alg":"none","kid":"key-1","typ":"ehds-permit+jwt"}`, payload)
	f.Fuzz(func(t *testing.T, header, payload string) {
		v, err := permit.Verify(forge(t, header, payload, k), trusted(k))
		if err != nil {
			require.NotEmpty(t, permit.CodeOf(err))
			return
		}
		require.Equal(t, permit.Schema, v.Document.Schema)
		require.Equal(t, "hdab-sandbox", v.Document.Issuer.HDAB)
		require.NoError(t, trusted(k)[0].Scope.Covers(v.Document))
		permit.Validate(v.Document)
		again, err := permit.Sign(v.Document, k, kid)
		require.NoError(t, err)
		back, err := permit.Verify([]byte(again), trusted(k))
		require.NoError(t, err)
		require.Equal(t, v, back)
	})
}

// FuzzVerifyBytes offers any bytes: nothing but an error may come back.
func FuzzVerifyBytes(f *testing.F) {
	k := ed(f)
	good, err := permit.Sign(permit.Template(now), k, kid)
	require.NoError(f, err)
	f.Add([]byte(good))
	f.Add([]byte(".."))
	issuers := trusted(ed(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := permit.Verify(b, issuers)
		require.Error(t, err)
		_, err = permit.VerifyStatus(b, statusKeys(k))
		require.Error(t, err)
	})
}
