package slurmrest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func reasons(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/reasons.txt")
	require.NoError(t, err)
	var out []string
	for line := range strings.Lines(string(b)) {
		if w := strings.TrimSpace(line); w != "" && !strings.HasPrefix(w, "#") {
			out = append(out, w)
		}
	}
	require.Greater(t, len(out), 190)
	return out
}

func TestEveryReasonOfSlurmHasACode(t *testing.T) {
	t.Parallel()
	for _, r := range reasons(t) {
		c := causeOf(r)
		require.NotEqual(t, broker.WaitUnknown, c.code, r)
		require.Contains(t, broker.WaitCodes(), c.code, r)
		// what no wait ends is what the limit of one job, or a budget, is called
		if strings.HasSuffix(r, "RunMinutes") || strings.HasSuffix(r, "PerUser") || strings.HasSuffix(r, "PerAccount") || strings.HasSuffix(r, "JobsLimit") {
			require.False(t, c.never, r)
		}
		if strings.HasSuffix(r, "PerJob") || strings.HasSuffix(r, "PerJobLimit") {
			require.True(t, c.never, r)
		}
	}
	for _, r := range []string{"Hibernating", "MaxNothing", "QOSHibernation", "AssocOther", "Assoc", "QOS"} {
		require.Equal(t, cause{code: broker.WaitUnknown}, causeOf(r), "what is not known is waited for: %s", r)
	}
}

func TestReasonsAreToldApart(t *testing.T) {
	t.Parallel()
	for r, want := range map[string]cause{
		"":                                {code: broker.WaitNotEvaluated},
		"Resources":                       {code: broker.WaitResources},
		"Priority":                        {code: broker.WaitPriority},
		"ReqNodeNotAvail, Reserved":       {code: broker.WaitNodeUnavailable},
		"AssocGrpGRES":                    {code: broker.WaitLimitAccount},
		"AssocGrpGRESRunMinutes":          {code: broker.WaitLimitAccount},
		"AssocGrpGRESMinutes":             {code: broker.WaitBudgetAtSite, never: true},
		"AssocGrpCPUMinutesLimit":         {code: broker.WaitBudgetAtSite, never: true},
		"QOSGrpWallLimit":                 {code: broker.WaitBudgetAtSite, never: true},
		"AssocMaxJobsLimit":               {code: broker.WaitLimitAccount},
		"AssocMaxGRESPerJob":              {code: broker.WaitLimitAccount, never: true},
		"AssocMaxCpuMinutesPerJobLimit":   {code: broker.WaitLimitAccount, never: true},
		"QOSMaxGRESPerUser":               {code: broker.WaitLimitQOS},
		"QOSMaxJobsPerUserLimit":          {code: broker.WaitLimitQOS},
		"QOSMaxGRESPerNode":               {code: broker.WaitLimitQOS, never: true},
		"QOSMaxWallDurationPerJobLimit":   {code: broker.WaitLimitQOS, never: true},
		"QOSMinCpuNotSatisfied":           {code: broker.WaitLimitQOS, never: true},
		"MaxGRESPerAccount":               {code: broker.WaitLimitQOS},
		"MaxGRESRunMinsPerUser":           {code: broker.WaitLimitQOS},
		"PartitionTimeLimit":              {code: broker.WaitLimitPartition, never: true},
		"PartitionDown":                   {code: broker.WaitLimitPartition},
		"Licenses":                        {code: broker.WaitLicense},
		"ReservationDeleted":              {code: broker.WaitReservation, never: true},
		"AssocMaxWallDurationPerJobLimit": {code: broker.WaitLimitAccount, never: true},
	} {
		require.Equal(t, want, causeOf(r), r)
	}
}

func TestTheExpectedStartIsSlurmsOwn(t *testing.T) {
	t.Parallel()
	at := time.Unix(1795540000, 0)
	w := why(seen{reason: "Resources", expected: at})
	require.True(t, at.Equal(w.Start))
	require.True(t, why(seen{reason: "Resources"}).Start.IsZero())
}
