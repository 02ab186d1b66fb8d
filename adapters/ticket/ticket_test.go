package ticket_test

import (
	"crypto"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/ticket"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

func moment() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

func key(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := dsse.GenerateKey()
	require.NoError(t, err)
	return k
}

func order() broker.WorkOrder { return broker.WorkOrder{ID: "ord_1", Attempt: "att_1"} }

func verify(token broker.Secret, pub crypto.PublicKey, now time.Time) (ticket.Ticket, error) {
	c, err := ticket.Parse(string(token))
	if err != nil {
		return ticket.Ticket{}, err
	}
	return c.Verify(pub, now)
}

func TestATicketCountsForItsKeyAndItsMinutes(t *testing.T) {
	t.Parallel()
	k := key(t)
	want := ticket.New("site_1", order(), moment())
	token, err := ticket.Sign(want, k)
	require.NoError(t, err)
	require.NotContains(t, string(token), "=", "it needs no quoting in a header")
	got, err := verify(token, k.Public(), moment())
	require.NoError(t, err)
	require.Equal(t, want, got)

	_, err = verify(token, key(t).Public(), moment())
	require.Error(t, err, "another site's key")
	_, err = verify(token, k.Public(), moment().Add(ticket.Life))
	require.ErrorContains(t, err, "ended")

	want.Until = moment().Add(24 * time.Hour)
	long, err := ticket.Sign(want, k)
	require.NoError(t, err)
	_, err = verify(long, k.Public(), moment())
	require.ErrorContains(t, err, "longer", "an agent cannot make itself a ticket for ever")
}

func TestWhatIsNotExactlyATicketIsRefused(t *testing.T) {
	t.Parallel()
	k := key(t)
	good := `{"v":1,"site":"site_1","attempt":"att_1","order":"ord_1","until":"2026-05-01T12:05:00Z"}`
	wrap := func(payloadType, payload string) broker.Secret {
		env, err := dsse.Sign(payloadType, []byte(payload), k)
		require.NoError(t, err)
		return broker.Secret(base64.RawURLEncoding.EncodeToString(env))
	}
	_, err := verify(wrap(ticket.PayloadType, good), k.Public(), moment())
	require.NoError(t, err)
	for name, token := range map[string]broker.Secret{
		"another type of statement": wrap("application/vnd.valico.link-answer+json", good),
		"an unknown field":          wrap(ticket.PayloadType, strings.Replace(good, `"v":1`, `"v":1,"x":1`, 1)),
		"a duplicate field":         wrap(ticket.PayloadType, strings.Replace(good, `"v":1`, `"v":1,"v":1`, 1)),
		"another version":           wrap(ticket.PayloadType, strings.Replace(good, `"v":1`, `"v":2`, 1)),
		"spaces":                    wrap(ticket.PayloadType, strings.Replace(good, `"v":1`, `"v": 1`, 1)),
		"no order":                  wrap(ticket.PayloadType, strings.Replace(good, `ord_1`, ``, 1)),
		"no text":                   "%%%",
		"nothing":                   "",
		"too much":                  broker.Secret(strings.Repeat("a", 10_000)),
	} {
		_, err := verify(token, k.Public(), moment())
		require.Error(t, err, name)
	}
	_, err = ticket.Sign(ticket.Ticket{}, k)
	require.Error(t, err)
}

func FuzzParseNeverBelievesWhatNobodySigned(f *testing.F) {
	k, err := dsse.GenerateKey()
	require.NoError(f, err)
	token, err := ticket.Sign(ticket.New("site_1", order(), moment()), k)
	require.NoError(f, err)
	f.Add(string(token))
	other, err := dsse.GenerateKey()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := verify(broker.Secret(s), other.Public(), moment()); err == nil {
			t.Fatal("a ticket that its key never signed")
		}
	})
}
