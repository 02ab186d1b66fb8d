package unpack_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/unpack"
)

func TestDocumentsOfALayoutAreCheckedWhenTheyAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(digest string) string { return filepath.Join(dir, "blobs", "sha256", digest[7:]) }
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700))
	doc := []byte(`{"schemaVersion":2}`)
	require.NoError(t, os.WriteFile(at(sum(doc)), doc, 0o400))
	b := unpack.Blobs{Dir: dir}
	got, err := b.Document(sum(doc))
	require.NoError(t, err)
	require.Equal(t, doc, got)
	r, err := b.Open(sum(doc))
	require.NoError(t, err)
	got, err = io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, doc, got)

	other := sum([]byte("other"))
	require.NoError(t, os.WriteFile(at(other), doc, 0o400))
	_, err = b.Document(other)
	require.ErrorIs(t, err, unpack.ErrTampered)
	_, err = b.Document(sum([]byte("none")))
	require.ErrorIs(t, err, os.ErrNotExist)
	big := sum([]byte("big"))
	require.NoError(t, os.WriteFile(at(big), []byte(strings.Repeat(" ", 5<<20)), 0o400))
	_, err = b.Document(big)
	require.ErrorIs(t, err, unpack.ErrLimit)
	for _, d := range []string{"", "x", "sha256:../../x", "sha512:" + other[7:]} {
		_, err = b.Open(d)
		require.ErrorIs(t, err, unpack.ErrMalformed, d)
	}
}

func TestWhatIsNoRegularFileIsNoBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(digest string) string { return filepath.Join(dir, "blobs", "sha256", digest[7:]) }
	pipe, link := sum([]byte("pipe")), sum([]byte("link"))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700))
	require.NoError(t, syscall.Mkfifo(at(pipe), 0o600))
	require.NoError(t, os.Symlink("/dev/zero", at(link)))
	_, err := unpack.Blobs{Dir: dir}.Open(pipe)
	require.ErrorIs(t, err, unpack.ErrRefused)
	_, err = unpack.Blobs{Dir: dir}.Open(link)
	require.Error(t, err)
}
