package sign_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/sign"
)

var (
	image = "sha256:" + strings.Repeat("0a", 32)
	other = "sha256:" + strings.Repeat("0b", 32)
)

func newKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	k, err := dsse.GenerateKey()
	require.NoError(tb, err)
	return k
}

// bundleOf signs any payload in the shape of a bundle, as another tool could.
func bundleOf(tb testing.TB, k crypto.Signer, payloadType, payload string) []byte {
	tb.Helper()
	sig, err := dsse.SignBytes(payloadType, []byte(payload), k)
	require.NoError(tb, err)
	sum, err := dsse.Fingerprint(k.Public())
	require.NoError(tb, err)
	b, err := json.Marshal(map[string]any{
		"mediaType":            sign.MediaType,
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": sum[:]}, "tlogEntries": []any{}},
		"dsseEnvelope": map[string]any{
			"payload": []byte(payload), "payloadType": payloadType, "signatures": []any{map[string]any{"sig": sig}},
		},
	})
	require.NoError(tb, err)
	return b
}

func statement(mutate ...string) string {
	s := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + image[7:] + `"}}],` +
		`"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`
	return strings.NewReplacer(mutate...).Replace(s)
}

func TestSignatureIsTheBundleThatOtherToolsRead(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	b, err := sign.Sign(k, image)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, "application/vnd.dev.sigstore.bundle.v0.3+json", got["mediaType"])
	sum, err := dsse.Fingerprint(k.Public())
	require.NoError(t, err)
	require.Equal(t, map[string]any{"publicKey": map[string]any{"hint": base64.StdEncoding.EncodeToString(sum[:])}}, got["verificationMaterial"])
	env := got["dsseEnvelope"].(map[string]any)
	require.Equal(t, "application/vnd.in-toto+json", env["payloadType"])
	payload, err := base64.StdEncoding.DecodeString(env["payload"].(string))
	require.NoError(t, err)
	require.Equal(t, statement(), string(payload))
	sigs := env["signatures"].([]any)
	require.Len(t, sigs, 1)
	require.Len(t, sigs[0], 1, "the format wants no key id in the envelope")
}

func TestOnlyAPinnedKeyAndTheSameDigestVerify(t *testing.T) {
	t.Parallel()
	k, k2, stranger := newKey(t), newKey(t), newKey(t)
	pins := []crypto.PublicKey{k2.Public(), k.Public()}
	b, err := sign.Sign(k, image)
	require.NoError(t, err)
	id, err := sign.Verify(b, image, pins)
	require.NoError(t, err)
	want, err := dsse.KeyID(k.Public())
	require.NoError(t, err)
	require.Equal(t, want, id)

	_, err = sign.Verify(b, other, pins)
	require.ErrorIs(t, err, sign.ErrSubject)
	_, err = sign.Verify(b, image, []crypto.PublicKey{stranger.Public()})
	require.ErrorIs(t, err, sign.ErrKeyUnknown)
	_, err = sign.Verify(b, image, nil)
	require.ErrorIs(t, err, sign.ErrKeyUnknown)
	_, err = sign.Verify(b, image, []crypto.PublicKey{"not a key"})
	require.ErrorIs(t, err, dsse.ErrKey)

	// A stranger who names a pinned key in the hint is found out.
	forged, err := sign.Sign(stranger, image)
	require.NoError(t, err)
	sumK, err := dsse.Fingerprint(k.Public())
	require.NoError(t, err)
	sumS, err := dsse.Fingerprint(stranger.Public())
	require.NoError(t, err)
	b64 := base64.StdEncoding.EncodeToString
	forged = []byte(strings.Replace(string(forged), b64(sumS[:]), b64(sumK[:]), 1))
	_, err = sign.Verify(forged, image, pins)
	require.ErrorIs(t, err, sign.ErrSignature)

	// Without a hint every pinned key is tried.
	blank := []byte(strings.Replace(string(b), b64(sumK[:]), "", 1))
	id, err = sign.Verify(blank, image, pins)
	require.NoError(t, err)
	require.Equal(t, want, id)
}

func TestAnotherStatementOfTheSameKeyIsNoImageSignature(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	pins := []crypto.PublicKey{k.Public()}
	_, err := sign.Verify(bundleOf(t, k, sign.PayloadType, statement()), image, pins)
	require.NoError(t, err, "the shape that other tools write")
	_, err = sign.Verify(bundleOf(t, k, sign.PayloadType, statement(`"digest"`, `"name":"job","digest"`)), image, pins)
	require.NoError(t, err)
	hexOther := other[7:]
	for name, payload := range map[string]string{
		"attestation":         statement("https://sigstore.dev/cosign/sign/v1", "https://authority.example/attestations/permit/v1"),
		"predicate type":      statement("cosign/sign/v1", "cosign/sign/v2"),
		"no predicate type":   statement(`"predicateType":"https://sigstore.dev/cosign/sign/v1",`, ``),
		"old statement":       statement("Statement/v1", "Statement/v0.1"),
		"no predicate":        statement(`,"predicate":{}`, ``),
		"predicate no object": statement(`"predicate":{}`, `"predicate":[]`),
		"no subject":          statement(`{"digest":{"sha256":"`+image[7:]+`"}}`, ``),
		"two subjects":        statement(`"}}]`, `"}},{"digest":{"sha256":"`+hexOther+`"}}]`),
		"same subject twice":  statement(`"}}]`, `"}},{"digest":{"sha256":"`+image[7:]+`"}}]`),
		"two digests":         statement(`"sha256":`, `"sha512":"`+hexOther+`","sha256":`),
		"duplicate digest":    statement(`"sha256":`, `"sha256":"`+hexOther+`","sha256":`),
		"unknown member":      statement(`"subject"`, `"note":"x","subject"`),
		"in the subject":      statement(`"digest"`, `"annotations":{},"digest"`),
		"trailing":            statement() + "{}",
		"not json":            "hello",
	} {
		_, err := sign.Verify(bundleOf(t, k, sign.PayloadType, payload), image, pins)
		require.ErrorIs(t, err, sign.ErrStatement, name)
	}
	_, err = sign.Verify(bundleOf(t, k, sign.PayloadType, statement("sha256", "sha512")), image, pins)
	require.ErrorIs(t, err, sign.ErrSubject)
	_, err = sign.Verify(bundleOf(t, k, "application/vnd.other+json", statement()), image, pins)
	require.ErrorIs(t, err, sign.ErrStatement)
}

func TestMalformedBundlesAreRefused(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	good := string(bundleOf(t, k, sign.PayloadType, statement()))
	for name, bad := range map[string]string{
		"empty":           "",
		"null":            "null",
		"version":         strings.Replace(good, "bundle.v0.3", "bundle.v0.2", 1),
		"unknown member":  strings.Replace(good, `{"dsseEnvelope"`, `{"x":1,"dsseEnvelope"`, 1),
		"message sig":     strings.Replace(good, `{"dsseEnvelope"`, `{"messageSignature":{},"dsseEnvelope"`, 1),
		"certificate":     strings.Replace(good, `"publicKey"`, `"certificate":{},"publicKey"`, 1),
		"no material":     `{"mediaType":"` + sign.MediaType + `"}`,
		"two signatures":  strings.Replace(good, `"signatures":[`, `"signatures":[{"sig":"YQ=="},`, 1),
		"no signatures":   good[:strings.Index(good, `"signatures":[`)] + `"signatures":[]},` + good[strings.Index(good, `"mediaType"`):],
		"bad base64":      strings.Replace(good, `"payload":"`, `"payload":"*`, 1),
		"duplicate":       strings.Replace(good, `"mediaType":`, `"mediaType":"x","mediaType":`, 1),
		"trailing":        good + "x",
		"larger than max": good + strings.Repeat(" ", sign.MaxBytes),
	} {
		_, err := sign.Verify([]byte(bad), image, []crypto.PublicKey{k.Public()})
		require.ErrorIs(t, err, sign.ErrMalformed, name)
	}
}

func TestDigestsAreSha256AndLowerCase(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for _, d := range []string{"", "sha256:", image[7:], strings.ToUpper(image), "sha512:" + image[7:], image + "0", "sha256:" + strings.Repeat("g", 64)} {
		_, err := sign.Sign(k, d)
		require.ErrorIs(t, err, sign.ErrDigest, d)
		_, err = sign.Verify(nil, d, nil)
		require.ErrorIs(t, err, sign.ErrDigest, d)
	}
}

func TestPackageReachesNoNetworkCode(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.NotContains(t, strings.Fields(string(out)), "net/http")
}

// FuzzVerify holds: no bytes but the one bundle that was signed verify, and
// then for its own digest only.
func FuzzVerify(f *testing.F) {
	k := newKey(f)
	b, err := sign.Sign(k, image)
	require.NoError(f, err)
	f.Add(b)
	f.Add(bundleOf(f, k, sign.PayloadType, statement("cosign/sign", "cosign/attest")))
	f.Fuzz(func(t *testing.T, b []byte) {
		pins := []crypto.PublicKey{k.Public()}
		_, err := sign.Verify(b, other, pins)
		require.Error(t, err)
		if _, err := sign.Verify(b, image, pins); err == nil {
			require.Contains(t, string(b), base64.StdEncoding.EncodeToString([]byte(statement())))
		}
	})
}
