package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func TestARootAgentOpensNoFolderThatOthersCouldSwap(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("who is not root serves the own account only")
	}
	for name, spoil := range map[string]func(t *testing.T, c *agent.Config){
		"the site's folder is open to all": func(t *testing.T, c *agent.Config) { t.Helper(); require.NoError(t, os.Chmod(c.Dir, 0o777)) },
		"even with the sticky bit": func(t *testing.T, c *agent.Config) {
			t.Helper()
			require.NoError(t, os.Chmod(c.Dir, 0o777|os.ModeSticky))
		},
		"the site's folder is a person's": func(t *testing.T, c *agent.Config) {
			t.Helper()
			require.NoError(t, os.Chown(c.Dir, stranger, stranger))
		},
		"a folder above is a group's": func(t *testing.T, c *agent.Config) {
			t.Helper()
			above := filepath.Join(c.Dir, "group")
			c.Dir = filepath.Join(above, "site")
			require.NoError(t, os.MkdirAll(c.Dir, 0o755))
			require.NoError(t, os.Chmod(above, 0o775))
		},
		"it is yet to be made below such a folder": func(t *testing.T, c *agent.Config) {
			t.Helper()
			require.NoError(t, os.Chmod(c.Dir, 0o775))
			c.Dir = filepath.Join(c.Dir, "new", "site")
		},
		"a link leads to such a folder": func(t *testing.T, c *agent.Config) {
			t.Helper()
			open := filepath.Join(t.TempDir(), "open")
			require.NoError(t, os.Mkdir(open, 0o755))
			require.NoError(t, os.Chmod(open, 0o777))
			c.Dir = filepath.Join(c.Dir, "link")
			require.NoError(t, os.Symlink(open, c.Dir))
		},
		"the launcher is anybody's": func(t *testing.T, c *agent.Config) {
			t.Helper()
			c.ExecPath = filepath.Join(t.TempDir(), "valico-exec")
			require.NoError(t, os.WriteFile(c.ExecPath, nil, 0o755))
			require.NoError(t, os.Chmod(c.ExecPath, 0o757))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newSite(t).config()
			c.Accounts = func(string) (int, int, error) { return stranger, stranger, nil }
			spoil(t, &c)
			_, err := agent.New(c)
			require.Equal(t, "site_place_unsafe", broker.CodeOf(err), "%v", err)
		})
	}
}

func TestTwoAgentsNeverShareASite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.open(s.config())
	_, err := agent.New(s.config())
	require.Equal(t, "site_in_use", broker.CodeOf(err))
}
