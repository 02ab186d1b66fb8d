package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// stranger is an account that is not the one the tests run as.
const stranger = 65534

func TestARootAgentSealsNoSecondNameOfSomebodyElsesFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root reads what another account may not")
	}
	s := newSite(t)
	shadow := filepath.Join(s.dir, "shadow") // root's, on the same file system
	require.NoError(t, os.WriteFile(shadow, []byte("root:hash"), 0o600))
	c := s.config()
	c.Accounts = func(string) (int, int, error) { return stranger, stranger, nil }
	_, r := leave(t, s, c, func(out string) {
		own := filepath.Join(out, "model")
		require.NoError(t, os.WriteFile(own, []byte("weights"), 0o600))
		require.NoError(t, os.Lchown(own, stranger, stranger))
		require.NoError(t, os.Link(shadow, filepath.Join(out, "report")))
		require.NoError(t, os.Mkdir(filepath.Join(out, "theirs"), 0o755)) // root's folder, moved here
		require.NoError(t, os.WriteFile(filepath.Join(out, "theirs", "secret"), []byte("secret"), 0o600))
	})
	require.Equal(t, []string{"model"}, paths(r.Outputs))
	require.Equal(t, 2, strings.Count(string(r.Outputs.Bytes), "not the account's own"))
}

func TestAWorkloadCannotHoldUpItsOwnSealing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shut  string
		mode  os.FileMode
		left  []string
		notes int
	}{
		"out closed":                    {".", 0, []string{}, 1},
		"a folder closed":               {"sub", 0, []string{"a"}, 1},
		"a folder that only lists":      {"sub", 0o400, []string{"a"}, 1},
		"a file closed to its own user": {"a", 0, []string{"sub/b"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() == 0 { // nothing is closed to root: all of it is sealed
				c.left, c.notes = []string{"a", "sub/b"}, 0
			}
			s := newSite(t)
			_, r := leave(t, s, s.config(), func(out string) {
				require.NoError(t, os.Mkdir(filepath.Join(out, "sub"), 0o700))
				for _, f := range []string{"a", "sub/b"} {
					require.NoError(t, os.WriteFile(filepath.Join(out, f), []byte("x"), 0o600))
				}
				require.NoError(t, os.Chmod(filepath.Join(out, c.shut), c.mode))
			})
			require.Equal(t, broker.OutcomeOK, r.Outcome)
			require.Equal(t, c.left, paths(r.Outputs))
			require.Equal(t, c.notes, strings.Count(string(r.Outputs.Bytes), "not readable"))
		})
	}
}

func TestAFileOfHolesTakesNoRoomInTheQuarantine(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	s := newSite(t)
	_, r := leave(t, s, s.config(), func(out string) {
		f, err := os.Create(filepath.Join(out, "holes"))
		require.NoError(t, err)
		require.NoError(t, f.Truncate(size))
		_, err = f.WriteAt([]byte("in the middle"), size/2+17)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	})
	require.Len(t, r.Outputs.Files, 1)
	require.EqualValues(t, size, r.Outputs.Files[0].SizeBytes)
	b, err := os.ReadFile(filepath.Join(s.dir, "quarantine", string(att), "out", "holes"))
	require.NoError(t, err)
	require.Equal(t, r.Outputs.Files[0].Digest, broker.DigestOf(b))
	fi, err := os.Stat(filepath.Join(s.dir, "quarantine", string(att), "out", "holes"))
	require.NoError(t, err)
	st, ok := fi.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.Less(t, st.Blocks*512, int64(1<<20))
}

func TestFoldersWithoutEndFillNeitherMemoryNorQuarantine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.SealFiles = 10
	_, r := leave(t, s, c, func(out string) {
		for i := range 1500 {
			require.NoError(t, os.Mkdir(filepath.Join(out, fmt.Sprintf("d%04d", i)), 0o700))
		}
	})
	require.Contains(t, string(r.Outputs.Bytes), "more names than one attempt may leave")
	made, err := os.ReadDir(filepath.Join(s.dir, "quarantine", string(att), "out"))
	require.NoError(t, err)
	require.Len(t, made, 1020)
}

func TestANameThatSteersATerminalIsNeverSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, r := leave(t, s, s.config(), func(out string) {
		for _, n := range []string{"\x1b]0;owned\x07", "\u009b2Jgone", "a\rb"} {
			require.NoError(t, os.WriteFile(filepath.Join(out, n), nil, 0o600))
		}
	})
	require.Empty(t, r.Outputs.Files)
	said := fmt.Sprintf("%s %+v", r.Outputs.Bytes, s.tel.events[att])
	require.Equal(t, 3, strings.Count(string(r.Outputs.Bytes), "cannot stand in a manifest"))
	for _, bad := range []string{"\x1b", "\x07", "\u009b", "\r", `\u001b`} {
		require.NotContains(t, said, bad)
	}
}

func TestOneAttemptsLostManifestSilencesNoOther(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, _ := leave(t, s, s.config(), func(string) {})
	s.sched.work = func(l broker.Launch) agent.Status {
		require.True(t, s.mark(l))
		return agent.Status{State: agent.SchedulerRunning}
	}
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, "att_two", nil)))
	a.Turn(t.Context())
	require.NoError(t, os.Remove(filepath.Join(s.dir, "quarantine", string(att), "manifest.json")))
	rs, err := a.Reports(t.Context(), []broker.AttemptID{att, "att_two"})
	require.NoError(t, err)
	require.Len(t, rs, 2)
	require.Equal(t, broker.AttemptSealing, rs[0].State, "what it left cannot be read, so it is not done")
	require.Equal(t, broker.AttemptID("att_two"), rs[1].Attempt)
	require.NotEqual(t, broker.AttemptDone, rs[1].State)
}
