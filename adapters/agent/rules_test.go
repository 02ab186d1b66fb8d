package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

type rules func(v order.Verified) error

func (r rules) Decide(_ context.Context, v order.Verified, e broker.Evidence, now time.Time) error {
	if len(e.Spec) == 0 || len(e.Permit) == 0 || now.IsZero() {
		return errors.New("rules see the evidence")
	}
	return r(v)
}

func TestASitesOwnRulesAreAskedOfVerifiedOrdersAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	asked := 0
	var answer error
	c := s.config()
	c.Rules = rules(func(v order.Verified) error {
		asked++
		require.NotEmpty(t, v.Permit.ID)
		return answer
	})
	a := s.open(c)

	stranger := s.auth.Issue(t, "att_0", func(o *broker.WorkOrder) { o.Site = "site_two" })
	require.Error(t, a.Start(t.Context(), stranger))
	require.Zero(t, asked, "what does not verify reaches no rule")

	answer = &broker.Error{Kind: broker.KindInvalid, Code: "site_rules", Message: "the site's own rules do not let the job start", Value: "too_many_gpus"}
	err := a.Start(t.Context(), s.auth.Issue(t, "att_1", nil))
	require.Equal(t, "site_rules", broker.CodeOf(err))
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "the broker ends the attempt")
	rs, err := a.Reports(t.Context(), []broker.AttemptID{"att_1"})
	require.NoError(t, err)
	require.Empty(t, rs, "nothing of it is kept")
	require.Equal(t, []string{"site_rules"}, s.tel.names("att_1"), "the job's people are told")

	answer = &broker.Error{Kind: broker.KindUnavailable, Code: "site_rules_unavailable", Message: "no decision"}
	o := s.auth.Issue(t, "att_2", nil)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(a.Start(t.Context(), o)), "it may come again")
	require.Empty(t, s.tel.names("att_2"))
	answer = nil
	require.NoError(t, a.Start(t.Context(), o))
	require.Equal(t, broker.OutcomeOK, s.finish(a, "att_2").Outcome)
}
