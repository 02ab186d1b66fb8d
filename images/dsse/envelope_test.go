package dsse_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/dsse"
)

const typ = "application/vnd.example+json"

func keys(tb testing.TB) map[string]crypto.Signer {
	tb.Helper()
	p256, err := dsse.GenerateKey()
	require.NoError(tb, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	return map[string]crypto.Signer{"p256": p256, "ed25519": ed}
}

func TestPAEIsTheExampleOfTheSpecification(t *testing.T) {
	t.Parallel()
	require.Equal(t, "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
		string(dsse.PAE("http://example.com/HelloWorld", []byte("hello world"))))
}

func TestSignedPayloadComesBackUnderItsTypeAndKeyOnly(t *testing.T) {
	t.Parallel()
	other, err := dsse.GenerateKey()
	require.NoError(t, err)
	for name, k := range keys(t) {
		payload := []byte("{\"a\":1}\x00\xff")
		env, err := dsse.Sign(typ, payload, k)
		require.NoError(t, err, name)
		e, err := dsse.Parse(env)
		require.NoError(t, err, name)
		id, err := dsse.KeyID(k.Public())
		require.NoError(t, err)
		require.Equal(t, id, e.KeyID)
		require.Len(t, id, 64)
		got, err := e.Verify(typ, k.Public())
		require.NoError(t, err, name)
		require.Equal(t, payload, got)

		_, err = e.Verify("application/vnd.other+json", k.Public())
		require.ErrorIs(t, err, dsse.ErrPayloadType)
		_, err = e.Verify(typ, other.Public())
		require.ErrorIs(t, err, dsse.ErrSignature)
		for _, broken := range []dsse.Envelope{
			{PayloadType: typ, Payload: append([]byte("x"), payload...), Sig: e.Sig},
			{PayloadType: typ, Payload: payload, Sig: nil},
			{PayloadType: typ, Payload: payload, Sig: e.Sig[1:]},
			{PayloadType: typ, Payload: payload, Sig: bytes.Repeat([]byte{0}, len(e.Sig))},
		} {
			_, err = broken.Verify(typ, k.Public())
			require.ErrorIs(t, err, dsse.ErrSignature, name)
		}
		// The type is part of what is signed: renaming it is no way in.
		renamed := e
		renamed.PayloadType = "application/vnd.other+json"
		_, err = renamed.Verify("application/vnd.other+json", k.Public())
		require.ErrorIs(t, err, dsse.ErrSignature)
	}
}

func TestOnlyOneSpellingOfAnEnvelopeIsAccepted(t *testing.T) {
	t.Parallel()
	const good = `{"payloadType":"t","payload":"YQ==","signatures":[{"keyid":"k","sig":"YQ=="}]}`
	_, err := dsse.Parse([]byte(good))
	require.NoError(t, err)
	for name, bad := range map[string]string{
		"empty":              ``,
		"null":               `null`,
		"not an object":      `[]`,
		"trailing data":      good + `{}`,
		"unknown member":     strings.Replace(good, `{"payloadType"`, `{"x":1,"payloadType"`, 1),
		"unknown in sig":     strings.Replace(good, `{"keyid"`, `{"x":1,"keyid"`, 1),
		"other case":         strings.Replace(good, `"payloadType"`, `"PayloadType"`, 1),
		"duplicate":          strings.Replace(good, `{"payloadType":"t"`, `{"payloadType":"t","payloadType":"t"`, 1),
		"no type":            strings.Replace(good, `"payloadType":"t",`, ``, 1),
		"empty type":         strings.Replace(good, `"t"`, `""`, 1),
		"long type":          strings.Replace(good, `"t"`, `"`+strings.Repeat("t", 300)+`"`, 1),
		"no payload":         strings.Replace(good, `"payload":"YQ==",`, ``, 1),
		"payload null":       strings.Replace(good, `"payload":"YQ=="`, `"payload":null`, 1),
		"payload bits":       strings.Replace(good, `"payload":"YQ=="`, `"payload":"YR=="`, 1),
		"payload unpadded":   strings.Replace(good, `"payload":"YQ=="`, `"payload":"YQ"`, 1),
		"payload line break": strings.Replace(good, `"payload":"YQ=="`, `"payload":"YQ=\n="`, 1),
		"no signature":       strings.Replace(good, `[{"keyid":"k","sig":"YQ=="}]`, `[]`, 1),
		"two signatures":     strings.Replace(good, `}]`, `},{"keyid":"k","sig":"YQ=="}]`, 1),
		"signature null":     strings.Replace(good, `{"keyid":"k","sig":"YQ=="}`, `null`, 1),
		"sig missing":        strings.Replace(good, `,"sig":"YQ=="`, ``, 1),
		"invalid utf-8":      strings.Replace(good, `"t"`, "\"\xff\"", 1),
		"too large":          strings.Replace(good, `"YQ=="`, `"`+strings.Repeat("YWFh", dsse.MaxBytes/4)+`"`, 1),
	} {
		_, err := dsse.Parse([]byte(bad))
		require.ErrorIs(t, err, dsse.ErrMalformed, name)
	}
}

func TestOtherKindsOfKeysAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, s := range []crypto.Signer{p384, r} {
		_, err := dsse.Sign(typ, nil, s)
		require.ErrorIs(t, err, dsse.ErrKey)
		_, err = dsse.KeyID(s.Public())
		require.ErrorIs(t, err, dsse.ErrKey)
		_, err = dsse.MarshalPublicPEM(s.Public())
		require.ErrorIs(t, err, dsse.ErrKey)
		_, err = dsse.MarshalPrivatePEM(s)
		require.ErrorIs(t, err, dsse.ErrKey)
		_, err = dsse.Envelope{PayloadType: typ, Payload: []byte("a"), Sig: []byte("a")}.Verify(typ, s.Public())
		require.ErrorIs(t, err, dsse.ErrKey)
	}
	for _, pub := range []crypto.PublicKey{nil, (*ecdsa.PublicKey)(nil), ed25519.PublicKey{1}, "x"} {
		_, err := dsse.KeyID(pub)
		require.ErrorIs(t, err, dsse.ErrKey)
	}
}

func TestKeyFilesHoldOneKeyAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, k := range keys(t) {
		pub, err := dsse.MarshalPublicPEM(k.Public())
		require.NoError(t, err)
		priv, err := dsse.MarshalPrivatePEM(k)
		require.NoError(t, err)
		gotPub, err := dsse.ParsePublicPEM(pub)
		require.NoError(t, err, name)
		require.Equal(t, k.Public(), gotPub)
		gotKey, err := dsse.ParsePrivatePEM(priv)
		require.NoError(t, err, name)
		require.Equal(t, k.Public(), gotKey.Public())

		for _, bad := range [][]byte{
			nil, priv, append(bytes.Clone(pub), pub...), append([]byte("x\n"), pub...), append(bytes.Clone(pub), 'x'),
			bytes.Repeat([]byte("a"), 1<<20), []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
		} {
			_, err := dsse.ParsePublicPEM(bad)
			require.ErrorIs(t, err, dsse.ErrKey)
		}
		_, err = dsse.ParsePrivatePEM(pub)
		require.ErrorIs(t, err, dsse.ErrKey)
		secret := strings.Split(string(priv), "\n")[1]
		_, err = dsse.ParsePrivatePEM(priv[:len(priv)/2])
		require.ErrorIs(t, err, dsse.ErrKey)
		require.NotContains(t, err.Error(), secret[:8])
	}
}

func TestPackageReachesNoNetworkCode(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.NotContains(t, strings.Fields(string(out)), "net/http")
	require.NotContains(t, strings.Fields(string(out)), "os/exec")
}

// FuzzParse holds: what Parse accepts is small, complete, and re-signing the
// same payload gives an envelope that parses to the same payload and type.
func FuzzParse(f *testing.F) {
	k, err := dsse.GenerateKey()
	require.NoError(f, err)
	env, err := dsse.Sign(typ, []byte("payload"), k)
	require.NoError(f, err)
	f.Add(env)
	f.Add([]byte(`{"payloadType":"t","payload":"","signatures":[{"sig":""}]}`))
	f.Add([]byte(`{"payloadType":"t","payload":"YQ==","signatures":[{"keyid":"k","sig":"YQ=="}]} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := dsse.Parse(b)
		if err != nil {
			require.ErrorIs(t, err, dsse.ErrMalformed)
			return
		}
		require.NotEmpty(t, e.PayloadType)
		again, err := dsse.Sign(e.PayloadType, e.Payload, k)
		require.NoError(t, err)
		e2, err := dsse.Parse(again)
		require.NoError(t, err)
		got, err := e2.Verify(e.PayloadType, k.Public())
		require.NoError(t, err)
		require.True(t, bytes.Equal(e.Payload, got))
		if _, err := e.Verify(e.PayloadType, k.Public()); err == nil {
			require.Equal(t, "payload", string(e.Payload), "nothing else was ever signed for the fuzzer")
		}
	})
}
