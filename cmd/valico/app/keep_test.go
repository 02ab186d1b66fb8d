package app_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/app"
)

func TestBoundsOfWhatASiteKeepsAreReadOverTheirDefaultsForBothProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "valico.yaml")
	require.NoError(t, os.WriteFile(path, []byte("keep: {attempt_keep: 48h, image_bytes: 7}\n"), 0o600))
	want := app.DefaultConfig().Keep
	require.Equal(t, app.KeepConfig{AttemptKeep: 168 * time.Hour, AttemptBytes: 10 << 30, CkptKeep: 168 * time.Hour, CkptBytes: 256 << 30}, want)
	want.AttemptKeep, want.ImageBytes = 48*time.Hour, 7
	serve, err := app.LoadConfig(path)
	require.NoError(t, err)
	require.Equal(t, want, serve.Keep)
	site, err := app.LoadAgentConfig(path)
	require.NoError(t, err)
	require.Equal(t, want, site.Keep)
}

func TestABoundThatIsNoneIsRefusedWithItsPath(t *testing.T) {
	t.Parallel()
	for key, change := range map[string]func(*app.KeepConfig){
		"keep.attempt_keep: ":  func(k *app.KeepConfig) { k.AttemptKeep = 0 },
		"keep.attempt_bytes: ": func(k *app.KeepConfig) { k.AttemptBytes = 0 },
		"keep.ckpt_keep: ":     func(k *app.KeepConfig) { k.CkptKeep = -time.Second },
		"keep.ckpt_bytes: ":    func(k *app.KeepConfig) { k.CkptBytes = -1 },
		"keep.image_bytes: ":   func(k *app.KeepConfig) { k.ImageBytes = -1 },
	} {
		c := app.DefaultConfig()
		change(&c.Keep)
		require.ErrorContains(t, c.Validate(), key)
		a := app.DefaultAgentConfig()
		change(&a.Keep)
		require.ErrorContains(t, a.Validate(), key)
	}
}
