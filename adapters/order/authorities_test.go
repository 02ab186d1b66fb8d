package order_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

func TestAuthoritiesComeBackAsTheyWerePinned(t *testing.T) {
	t.Parallel()
	k, err := dsse.GenerateKey()
	require.NoError(t, err)
	st, err := dsse.GenerateKey()
	require.NoError(t, err)
	off, err := dsse.GenerateKey()
	require.NoError(t, err)
	in := order.Authorities{
		Permit: []permit.TrustedIssuer{{KeyID: "p1", Issuer: "hdab.example", Public: k.Public(), Scope: permit.Scope{
			Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/"}, Holders: []string{"h"}, SyntheticOnly: true,
		}}},
		Status:  []permit.TrustedStatusKey{{KeyID: "s1", Issuer: "hdab.example", Public: st.Public()}},
		Officer: []order.Officer{{Person: "rita@x.example", Key: off.Public()}},
	}
	b, err := order.EncodeAuthorities(in)
	require.NoError(t, err)
	out, err := order.ParseAuthorities(b)
	require.NoError(t, err)
	require.Equal(t, in, out)

	_, err = order.ParseAuthorities([]byte(strings.Replace(string(b), `"permit"`, `"permits"`, 1)))
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "an unknown member is refused")

	in.Officer[0].Key = st.Public()
	_, err = order.EncodeAuthorities(in)
	require.Equal(t, order.CodeKeyTwoRoles, broker.CodeOf(err))
}
