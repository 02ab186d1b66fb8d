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
	require.Contains(t, bad["slurm_reservation"], "week is not there; there are: ") // another test makes one
	require.Contains(t, bad["slurm_constraint"], "rack2 is not there")

	c.APIVersion = "v0.0.45" // which 24.11 does not serve: it does not even start
	fs := slurmrest.Probe(t.Context(), c)
	require.False(t, fs[0].OK)
}

func TestWhatTheSiteConfiguresIsWhatEveryJobGets(t *testing.T) {
	t.Parallel()
	slurmSays(t, "scontrol", "create", "reservation", "ReservationName=ours", "StartTime=now", "Duration=60", "Users="+person,
		"Nodes="+cluster.Nodes[0], "Flags=OVERLAP,IGNORE_JOBS", "TRES=cpu=1")
	t.Cleanup(func() { slurmSays(t, "scontrol", "delete", "ReservationName=ours") })
	c := settings()
	c.Partition, c.SlurmAccount, c.QOS, c.Reservation = cluster.Partition, "tiny", "normal", "ours"
	c.Partitions = map[string]string{cluster.GPUType: "debug"}
	s := open(t, c)
	for gpus, partition := range map[int]string{0: cluster.Partition, 1: "debug"} {
		l := launch(t)
		l.Hold, l.Resources.GPUsPerNode = true, gpus
		if gpus == 0 {
			l.Resources.GPUType = ""
		}
		require.NoError(t, s.Submit(t.Context(), l))
		st, err := s.Find(t.Context(), l)
		require.NoError(t, err)
		says := slurmSays(t, "scontrol", "show", "job", st.Handle)
		for _, want := range []string{"Partition=" + partition, "Account=tiny", "QOS=normal", "Reservation=ours"} {
			require.Contains(t, says, want)
		}
		require.NoError(t, s.Cancel(t.Context(), l))
	}
}
