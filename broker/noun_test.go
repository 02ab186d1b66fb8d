package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func TestIdentifiersAreOpaqueAndDistinct(t *testing.T) {
	t.Parallel()
	seen := map[broker.JobID]bool{}
	for range 1000 {
		id := broker.NewID[broker.JobID]("job")
		require.True(t, broker.ValidID("job", string(id)), "%s", id)
		require.False(t, broker.ValidID("att", string(id)))
		require.False(t, seen[id])
		seen[id] = true
	}
	require.False(t, broker.ValidID("job", "job_ILLEGAL-characters-in-here"))
}

func TestOnlyOneFormOfDigestIsValid(t *testing.T) {
	t.Parallel()
	d := broker.DigestOf([]byte("x"))
	require.True(t, d.Valid())
	require.Equal(t, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", d.Hex())
	for _, bad := range []broker.Digest{
		"", "sha256:", "sha512:" + broker.Digest(d.Hex()), broker.Digest(d.Hex()), d + "0", "sha256:" + broker.Digest(bytes.ToUpper([]byte(d.Hex()))),
	} {
		require.False(t, bad.Valid(), "%s", bad)
	}
}

func TestASecretNeverPrints(t *testing.T) {
	t.Parallel()
	s := broker.Secret("hunter2-hunter2")
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("token", "token", s, "in", struct{ T broker.Secret }{s})
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %q %s", s, s, s, s, s), fmt.Sprintf("%#v", struct{ T broker.Secret }{s}), logged.String()} {
		require.NotContains(t, out, "hunter2")
	}
}

func TestKindIsThatOfTheFirstBrokerError(t *testing.T) {
	t.Parallel()
	require.Equal(t, broker.Kind(""), broker.KindOf(nil))
	require.Equal(t, broker.KindInternal, broker.KindOf(errors.New("pq: boom")))
	err := fmt.Errorf("submit: %w", broker.NotFound("job", "job_1"))
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	require.Equal(t, "not_found", broker.CodeOf(err))
}

func TestAReservationCoversTheKillMarginAndRoundsUp(t *testing.T) {
	t.Parallel()
	r := broker.Resources{Nodes: 2, GPUsPerNode: 4, Walltime: 10*time.Minute + time.Millisecond}
	require.Equal(t, 8, r.GPUs())
	require.Equal(t, int64(8*631), r.GPUSeconds(30*time.Second))
	require.Zero(t, broker.Resources{Nodes: 1, Walltime: time.Hour}.GPUSeconds(time.Minute))
}

func TestOverrunMakesAnAllocationsAvailabilityNegative(t *testing.T) {
	t.Parallel()
	require.Equal(t, int64(-10), broker.Allocation{GPUSeconds: 100, Used: 110}.Available())
}
