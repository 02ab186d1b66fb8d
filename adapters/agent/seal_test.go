package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
)

// leave runs an attempt that writes whatever fill says into its out folder.
func leave(t *testing.T, s *site, c agent.Config, fill func(out string)) (*agent.Agent, broker.AttemptReport) {
	t.Helper()
	s.sched.work = func(l broker.Launch) agent.Status {
		require.True(t, s.mark(l))
		fill(filepath.Join(l.Dir, "out"))
		require.NoError(t, s.spool(l, broker.OutcomeOK))
		return agent.Status{State: agent.SchedulerEnded, Outcome: broker.OutcomeOK}
	}
	a := s.open(c)
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	return a, s.finish(a, att)
}

func paths(m *broker.OutputManifest) []string {
	out := []string{}
	for _, f := range m.Files {
		out = append(out, f.Path)
	}
	return out
}

func TestSealingTakesRegularFilesAndFollowsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	var kept string
	_, r := leave(t, s, s.config(), func(out string) {
		require.NoError(t, os.WriteFile(filepath.Join(out, "a"), []byte("a"), 0o600))
		require.NoError(t, os.Symlink(secret, filepath.Join(out, "link")))
		require.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(out, "folder")))
		require.NoError(t, syscall.Mkfifo(filepath.Join(out, "pipe"), 0o600))
		require.NoError(t, syscall.Mknod(filepath.Join(out, "sock"), syscall.S_IFSOCK|0o600, 0))
		require.NoError(t, os.WriteFile(filepath.Join(out, "b\nc"), []byte("x"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(out, "\xff"), []byte("x"), 0o600))
		kept = filepath.Join(t.TempDir(), "kept") // another name of a file that is sealed
		require.NoError(t, os.Link(filepath.Join(out, "a"), kept))
	})
	require.Equal(t, []string{"a"}, paths(r.Outputs))
	require.NotContains(t, string(r.Outputs.Bytes), "secret")
	for _, why := range []string{"a link", "a pipe", "a socket", "a name that cannot"} {
		require.Contains(t, string(r.Outputs.Bytes), why)
	}
	require.Equal(t, 6, strings.Count(strings.Join(s.tel.names(att), " "), "output_skipped"))

	require.NoError(t, os.WriteFile(kept, []byte("changed"), 0o600))
	b, err := os.ReadFile(filepath.Join(s.dir, "quarantine", string(att), "out", "a"))
	require.NoError(t, err)
	require.Equal(t, "a", string(b), "the other name reaches the sealed copy no more")
}

func TestAnOutFolderThatIsALinkSealsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	elsewhere := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "secret"), []byte("secret"), 0o600))
	_, r := leave(t, s, s.config(), func(out string) {
		require.NoError(t, os.Remove(out))
		require.NoError(t, os.Symlink(elsewhere, out))
	})
	require.Empty(t, r.Outputs.Files)
	require.FileExists(t, filepath.Join(elsewhere, "secret"))
}

func TestWhatIsBeyondTheBoundsIsSkippedAndSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.SealFiles, c.SealBytes = 3, 10
	_, r := leave(t, s, c, func(out string) {
		for _, f := range []struct{ name, body string }{{"a", "1234"}, {"b", "1234567"}, {"c", "12"}, {"d", "1"}, {"e", "1"}} {
			require.NoError(t, os.WriteFile(filepath.Join(out, f.name), []byte(f.body), 0o600))
		}
		deep := out
		for range 40 {
			deep = filepath.Join(deep, "d_")
			require.NoError(t, os.Mkdir(deep, 0o700))
		}
	})
	require.Equal(t, []string{"a", "c", "d"}, paths(r.Outputs))
	require.Equal(t, 2, strings.Count(string(r.Outputs.Bytes), "beyond what"))
	require.Contains(t, string(r.Outputs.Bytes), "too deep")
}

func TestOnlyWhatAReviewerReleasedIsServed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.open(s.config())
	require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, att, nil)))
	m := s.finish(a, att).Outputs

	_, _, err := a.Open(t.Context(), att, "model.bin")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "nothing is released")
	for name, env := range map[string][]byte{
		"nonsense":                     []byte("{}"),
		"the submitter as reviewer":    ordertest.Statement(t, att, m.Digest, person, s.auth.Submitter, s.auth.Now),
		"another's name":               ordertest.Statement(t, att, m.Digest, reviewer, s.auth.Submitter, s.auth.Now),
		"a key of another role":        ordertest.Statement(t, att, m.Digest, reviewer, s.auth.Order, s.auth.Now),
		"another manifest":             ordertest.Statement(t, att, ordertest.DigestOf("other"), reviewer, s.auth.Officer, s.auth.Now),
		"another attempt":              ordertest.Statement(t, "att_two", m.Digest, reviewer, s.auth.Officer, s.auth.Now),
		"a work order in its envelope": s.auth.Issue(t, att, nil).Envelope,
	} {
		require.Error(t, a.Release(t.Context(), att, env), name)
		_, _, err = a.Open(t.Context(), att, "model.bin")
		require.Equal(t, broker.KindNotFound, broker.KindOf(err), name)
	}
	good := ordertest.Statement(t, att, m.Digest, reviewer, s.auth.Officer, s.auth.Now)
	require.Equal(t, broker.KindNotFound, broker.KindOf(a.Release(t.Context(), "att_two", good)))
	require.NoError(t, a.Release(t.Context(), att, good))
	require.NoError(t, a.Release(t.Context(), att, good), "twice is once")

	again := s.open(s.config())
	rc, f, err := again.Open(t.Context(), att, "model.bin")
	require.NoError(t, err)
	body, err := readAll(t, rc)
	require.NoError(t, err)
	require.Equal(t, "weights", body)
	require.Equal(t, ordertest.DigestOf("weights"), f.Digest)
	for _, p := range []string{"", "model", "../manifest.json", "/etc/passwd", "logs", "./model.bin"} {
		_, _, err = again.Open(t.Context(), att, p)
		require.Equal(t, broker.KindNotFound, broker.KindOf(err), p)
	}

	path := filepath.Join(s.dir, "quarantine", string(att), "out", "model.bin")
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, []byte("w3ights"), 0o600))
	rc, _, err = again.Open(t.Context(), att, "model.bin")
	require.NoError(t, err)
	_, err = readAll(t, rc)
	require.Error(t, err, "other bytes of the same length")

	s.auth.Trust.Officer = s.auth.Trust.Officer[1:]
	s.auth.Pin(t, s.dir)
	_, _, err = again.Open(t.Context(), att, "logs/loss.csv")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "the reviewer's key was taken out")
}
