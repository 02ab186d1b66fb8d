package ordertest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
)

func TestAnOrderPassesAtTheSiteThatTrustsItsAuthorityAndAtNoOther(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	a := ordertest.New(t, now)
	raw, err := order.Encode(a.Issue(t, "att_one", nil))
	require.NoError(t, err)
	at := order.At{Stage: order.StageAgent, Now: now}
	v, err := order.Verify(t.Context(), raw, a.Trust, at)
	require.NoError(t, err)
	require.Equal(t, broker.AttemptID("att_one"), v.Order.Attempt)
	_, err = order.Verify(t.Context(), raw, ordertest.New(t, now).Trust, at)
	require.Error(t, err)
}
