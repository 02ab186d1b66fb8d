//go:build integration

package slurmrest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/slurmrest"
)

func TestAProbeSaysWhichConfiguredNamesDoNotExist(t *testing.T) {
	t.Parallel()
	c := settings()
	c.Accounts = []string{person}
	c.Partition, c.SlurmAccount, c.QOS = cluster.Partition, cluster.Account, "normal"
	c.Partitions = map[string]string{"h100": "debug"}
	for _, f := range slurmrest.Probe(t.Context(), c) {
		require.True(t, f.OK, "%+v", f)
	}
	c.Partition, c.SlurmAccount, c.QOS, c.Reservation, c.Constraint = "boots", "sit", "norm", "week", "nvlink&[rack1*2|rack2]"
	c.Partitions = map[string]string{"h100": "dbg"}
	bad := map[string]string{}
	for _, f := range slurmrest.Probe(t.Context(), c) {
		if !f.OK {
			require.Contains(t, f.Help, "the site operator", f.Name)
			bad[f.Name] += f.Found + ";"
		}
	}
	require.Contains(t, bad["slurm_partition"], "boots is not there; there are: boost, debug")
	require.Contains(t, bad["slurm_partitions.h100"], "dbg is not there; there are: boost, debug")
	require.Contains(t, bad["slurm_charge "+person], "sit is not there; there are: ")
	require.Contains(t, bad["slurm_charge "+person], "site")
	require.Contains(t, bad["slurm_qos "+person], "norm is not there")
	require.Contains(t, bad["slurm_reservation"], "week is not there; there are: none")
	require.Contains(t, bad["slurm_constraint"], "rack2 is not there")

	c.APIVersion = "v0.0.45" // which 24.11 does not serve: it does not even start
	fs := slurmrest.Probe(t.Context(), c)
	require.False(t, fs[0].OK)
}
