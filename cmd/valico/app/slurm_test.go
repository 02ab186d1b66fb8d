package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/app"
)

func TestNamesForSlurmAreCheckedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	c := app.DefaultConfig()
	c.DataDir, c.Authorities = t.TempDir(), "/etc/valico/authorities.json"
	s := app.SlurmConfig{
		Conf: "/etc/slurm/slurm.conf", Partition: "boost", QoS: "normal", Account: "site", Reservation: "week",
		Constraint: "nvlink&[rack1*2|rack2]", Partitions: map[string]string{"h100": "gpu"}, APIVersion: "v0.0.42",
	}
	c.Slurm = map[string]app.SlurmConfig{"s": s}
	require.NoError(t, c.Validate())
	for key, change := range map[string]func(*app.SlurmConfig){
		"slurm.s.partition: ":       func(s *app.SlurmConfig) { s.Partition = "boost debug" },
		"slurm.s.reservation: ":     func(s *app.SlurmConfig) { s.Reservation = "a;b" },
		"slurm.s.constraint: ":      func(s *app.SlurmConfig) { s.Constraint = "$(id)" },
		"slurm.s.qos: ":             func(s *app.SlurmConfig) { s.QoS = "a\nb" },
		"slurm.s.partitions.h100: ": func(s *app.SlurmConfig) { s.Partitions = map[string]string{"h100": ""} },
		"slurm.s.api_version: ":     func(s *app.SlurmConfig) { s.APIVersion = "v0.0.38" },
	} {
		bad := s
		change(&bad)
		c.Slurm = map[string]app.SlurmConfig{"s": bad}
		require.ErrorContains(t, c.Validate(), key)
	}
}
