package slurmrest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func jwt(user string, until time.Time) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"HS256"}`)) + "." + b64(fmt.Appendf(nil, `{"exp":%d,"iat":1,"sun":%q}`, until.Unix(), user)) + "." + b64([]byte("signature"))
}

func TestATokenIsForExactlyItsAccountOrNeverSent(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	_, err := checkToken(jwt("ada", now.Add(time.Hour)), "ada", now)
	require.NoError(t, err)
	for name, token := range map[string]string{
		"root's":     jwt("root", now.Add(time.Hour)),
		"slurm's":    jwt("slurm", now.Add(time.Hour)),
		"nobody's":   jwt("", now.Add(time.Hour)),
		"ended":      jwt("ada", now.Add(-time.Hour)),
		"ends now":   jwt("ada", now.Add(time.Second)),
		"no JWT":     "secret-of-somebody",
		"no payload": "a.%%%.c",
		"empty":      "",
	} {
		_, err := checkToken(token, "ada", now)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret-of-somebody", "a token is never shown")
	}
}

func TestATokenIsAskedForAgainBeforeItEnds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	asked := 0
	w := &wallet{account: "ada", now: func() time.Time { return now }, ask: func(context.Context, string) (string, error) {
		asked++
		return jwt("ada", now.Add(10*time.Minute)), nil
	}}
	for range 3 {
		_, err := w.get(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, 1, asked)
	now = now.Add(9*time.Minute + time.Second)
	_, err := w.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, asked)
}

func TestASitesCommandGivesTheTokenOfTheAccountBehindIt(t *testing.T) {
	t.Parallel()
	ask := func(script string) (string, error) {
		return CommandTokens([]string{"/bin/sh", "-c", script, "lifespan"}, "/bin:/usr/bin")(t.Context(), "ada")
	}
	got, err := ask("echo SLURM_JWT=token-of-$1-$0")
	require.NoError(t, err)
	require.Equal(t, "token-of-ada-lifespan", got)
	_, err = ask("echo hunter2 >&2; exit 1")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestATokenThatAPersonBringsIsTheirsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self := func(string) (Identity, error) { return Identity{UID: os.Geteuid(), GID: 1}, nil }
	write := func(mode os.FileMode) {
		_ = os.Remove(filepath.Join(dir, "ada"))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ada"), []byte("token\n"), mode))
		require.NoError(t, os.Chmod(filepath.Join(dir, "ada"), mode))
	}
	ask := FileTokens(dir, self)
	_, err := ask(t.Context(), "ada")
	require.ErrorContains(t, err, "brought no token")
	write(0o600)
	got, err := ask(t.Context(), "ada")
	require.NoError(t, err)
	require.Equal(t, "token", got)
	write(0o644)
	_, err = ask(t.Context(), "ada")
	require.ErrorContains(t, err, "0600", "others could have read it")
	require.NoError(t, os.Remove(filepath.Join(dir, "ada")))
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(dir, "ada")))
	_, err = ask(t.Context(), "ada")
	require.Error(t, err, "a link is not followed")
}

func TestASlurmrestdOfTheSiteIsAskedWithTheAccountsToken(t *testing.T) {
	t.Parallel()
	var wrong atomic.Int32
	token := jwt("ada", time.Now().Add(time.Hour))
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("X-Slurm-User-Token") != token || r.Header.Get("X-Slurm-User-Name") != "ada" {
			wrong.Add(1)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(srv.Close)
	c := Config{
		Dir: t.TempDir(), Accounts: []string{"ada", "bob"}, URL: srv.URL,
		Lookup: func(string) (Identity, error) { return Identity{UID: max(os.Geteuid(), 2001), GID: 2001}, nil },
		Tokens: func(context.Context, string) (string, error) { return token, nil },
	}
	s, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.Find(t.Context(), broker.Launch{Name: "att_1", Account: "ada", OrderDigest: broker.DigestOf(nil)})
	require.Error(t, err)
	require.Positive(t, asked.Load())
	require.Zero(t, wrong.Load())
	before := asked.Load()
	_, err = s.Find(t.Context(), broker.Launch{Name: "att_2", Account: "bob", OrderDigest: broker.DigestOf(nil)})
	require.Error(t, err)
	require.Equal(t, before, asked.Load(), "ada's token is not sent for bob")

	c.URL = "http://slurm.example:6820"
	_, err = New(c)
	require.ErrorContains(t, err, "https")
	c.URL = ""
	_, err = New(c)
	require.Error(t, err, "tokens without a place")
}
