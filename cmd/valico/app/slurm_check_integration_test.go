//go:build integration

package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// The operator reads which of the names in the site's section exist at the
// cluster and which the persons' accounts may use, each with what to do.
func TestTheNamesOfASlurmSiteAreLookedUpAtTheCluster(t *testing.T) {
	t.Parallel()
	w, _ := slurmWorld(t, "check", func(c *app.SlurmConfig) {
		c.QoS, c.Reservation, c.Partitions = "norm", "week", map[string]string{"h100": "debug"}
	})
	got, err := w.Client(demo.OperatorID).CheckSite(t.Context(), w.Site.Name)
	require.NoError(t, err)
	found := map[string]string{}
	for _, c := range got.Checks {
		if !c.OK {
			require.NotEmpty(t, c.Help, c.Name)
			found[c.Name] = c.Found
		} else {
			found[c.Name] = "ok: " + c.Found
		}
	}
	for _, account := range []string{"labuser1", "labuser2"} {
		require.Equal(t, "ok: site", found["slurm_charge "+account], "%v", found)
		require.Equal(t, "norm is not there; there are: normal, urgent", found["slurm_qos "+account])
		require.Contains(t, found["slurm_account "+account], "ok: slurmctld answers, API v0.0.42")
	}
	require.Equal(t, "ok: boost", found["slurm_partition"])
	require.Equal(t, "ok: debug", found["slurm_partitions.h100"])
	require.Equal(t, "week is not there; there are: none", found["slurm_reservation"])
}
