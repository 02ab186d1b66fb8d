package layout_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/disk"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func open(tb testing.TB, opts ...layout.Option) (*layout.Store, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "store")
	s, err := layout.Open(dir, opts...)
	require.NoError(tb, err)
	return s, dir
}

// putLayer cuts a folder with one file and stores it.
func putLayer(tb testing.TB, s *layout.Store, class, content string) layout.Layer {
	tb.Helper()
	src := tb.TempDir()
	require.NoError(tb, os.WriteFile(filepath.Join(src, class+".txt"), []byte(content), 0o600))
	var b bytes.Buffer
	l, err := layer.Cut(tb.Context(), &b, src, layer.Options{Prefix: "app"})
	require.NoError(tb, err)
	require.NoError(tb, s.Put(tb.Context(), l.Digest, l.SizeBytes, &b))
	return layout.Layer{Class: class, MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}
}

func TestABlobThatTheDiskCannotHoldIsNotEvenRead(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	unread := iotest.ErrReader(errors.New("it was read"))
	require.ErrorIs(t, s.Put(t.Context(), sum([]byte("x")), 1<<60, unread), disk.ErrFull)
}

func TestBlobIsStoredWholeAndTrueOrNotAtAll(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	data := []byte("hello")
	for name, c := range map[string]struct {
		dgst string
		size int64
		r    io.Reader
		want error
	}{
		"other bytes": {sum([]byte("x")), 5, bytes.NewReader(data), layout.ErrDigest},
		"too short":   {sum(data), 6, bytes.NewReader(data), layout.ErrDigest},
		"too long":    {sum(data), 4, bytes.NewReader(data), layout.ErrDigest},
		"negative":    {sum(data), -1, bytes.NewReader(data), layout.ErrDigest},
		"no digest":   {"x", 5, bytes.NewReader(data), layout.ErrDigest},
		"sha512":      {"sha512:" + strings.Repeat("a", 128), 5, bytes.NewReader(data), layout.ErrDigest},
		"climbs":      {"sha256:../../x", 5, bytes.NewReader(data), layout.ErrDigest},
		"broken":      {sum(data), 5, iotest.ErrReader(io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
	} {
		require.ErrorIs(t, s.Put(t.Context(), c.dgst, c.size, c.r), c.want, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Put(ctx, sum(data), 5, bytes.NewReader(data)), context.Canceled)
	left, err := os.ReadDir(filepath.Join(dir, "ingest"))
	require.NoError(t, err)
	require.Empty(t, left)
	ok, err := s.Has(t.Context(), sum(data))
	require.NoError(t, err)
	require.False(t, ok)
	_, _, err = s.OpenBlob(t.Context(), sum(data))
	require.ErrorIs(t, err, layout.ErrNotFound)

	require.NoError(t, s.Put(t.Context(), sum(data), 5, bytes.NewReader(data)))
	require.NoError(t, s.Put(t.Context(), sum(data), 5, iotest.ErrReader(errors.New("must not be read"))))
	require.ErrorIs(t, s.Put(t.Context(), sum(data), 6, bytes.NewReader(data)), layout.ErrDigest)
	r, size, err := s.OpenBlob(t.Context(), sum(data))
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, data, got)
	require.EqualValues(t, 5, size)
	require.NoError(t, s.Put(t.Context(), sum(nil), 0, bytes.NewReader(nil)), "the empty blob")
}

func TestSweepRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	require.NoError(t, s.Put(t.Context(), sum([]byte("a")), 1, strings.NewReader("a")))
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), sum([]byte("bb")), 2, pr) }()
	_, err := pw.Write([]byte("b"))
	require.NoError(t, err)
	n, err := s.Sweep(t.Context(), time.Unix(0, 0))
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = s.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, pw.CloseWithError(errors.New("cut")))
	require.Error(t, <-done)
	left, err := os.ReadDir(filepath.Join(dir, "ingest"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSharedStoreIsReadableForAllAndAnyOtherForItsOwner(t *testing.T) {
	t.Parallel()
	mode := func(p string) fs.FileMode {
		fi, err := os.Stat(p)
		require.NoError(t, err)
		return fi.Mode().Perm()
	}
	blob := filepath.Join("blobs", "sha256", sum([]byte("a"))[7:])
	s, dir := open(t, layout.Shared())
	require.NoError(t, s.Put(t.Context(), sum([]byte("a")), 1, strings.NewReader("a")))
	require.Equal(t, fs.FileMode(0o755), mode(dir))
	require.Equal(t, fs.FileMode(0o755), mode(filepath.Join(dir, "blobs", "sha256")))
	require.Equal(t, fs.FileMode(0o444), mode(filepath.Join(dir, blob)))
	require.Equal(t, fs.FileMode(0o644), mode(filepath.Join(dir, "index.json")))
	_, private := open(t)
	require.Equal(t, fs.FileMode(0o700), mode(private))
}

func TestAChangedDiskIsFoundOutWhenAnImageIsLoaded(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"manifest", "config", "layer size", "layer bytes", "layer gone"} {
		s, dir := open(t)
		l := putLayer(t, s, "source", "s")
		img, err := s.Assemble(t.Context(), spec(l))
		require.NoError(t, err)
		target := map[string]string{"manifest": img.Digest, "config": sum(img.Config)}[what]
		if target == "" {
			target = l.Digest
		}
		p := filepath.Join(dir, "blobs", "sha256", target[7:])
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		require.NoError(t, os.Remove(p))
		b[len(b)-2] ^= 1
		if what == "layer size" {
			b = append(b, 0)
		}
		if what != "layer gone" {
			require.NoError(t, os.WriteFile(p, b, 0o600))
		}
		_, err = s.Load(t.Context(), img.Digest)
		switch what {
		case "layer bytes":
			require.NoError(t, err)
			require.ErrorIs(t, s.Verify(t.Context(), img), layout.ErrDigest)
		case "layer gone":
			require.ErrorIs(t, err, layout.ErrNotFound)
			require.ErrorIs(t, s.Verify(t.Context(), img), layout.ErrNotFound)
		default:
			require.ErrorIs(t, err, layout.ErrDigest, what)
		}
	}
}

func TestALayerCutStraightIntoTheStoreIsTheSameLayer(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	src := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(src, "a"), []byte("content"), 0o600))
	in, err := s.Ingest(t.Context())
	require.NoError(t, err)
	var _ layer.Hasher = in
	direct, err := layer.Cut(t.Context(), in, src, layer.Options{})
	require.NoError(t, err)
	require.NoError(t, in.Commit(t.Context(), direct.Digest, direct.SizeBytes))
	require.NoError(t, in.Close())
	var b bytes.Buffer
	buffered, err := layer.Cut(t.Context(), &b, src, layer.Options{})
	require.NoError(t, err)
	require.Equal(t, buffered, direct)
	r, _, err := s.OpenBlob(t.Context(), direct.Digest)
	require.NoError(t, err)
	require.NoError(t, layer.Check(t.Context(), r, direct, layer.Limits{}))
	require.NoError(t, r.Close())
}

func TestALayerIsCheckedOnceForEachClaimAboutIt(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	l := putLayer(t, s, "source", strings.Repeat("content ", 100))
	require.NoError(t, s.Check(t.Context(), l, layer.Limits{}))
	blob := filepath.Join(dir, "blobs", "sha256", l.Digest[7:])
	b, err := os.ReadFile(blob)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.Remove(blob))
	require.NoError(t, os.WriteFile(blob, b, 0o600))
	require.NoError(t, s.Check(t.Context(), l, layer.Limits{}), "it is remembered, and Verify looks at the disk")
	for _, mutate := range []func(*layout.Layer){
		func(l *layout.Layer) { l.DiffID = sum(nil) },
		func(l *layout.Layer) { l.MediaType = "application/vnd.oci.image.layer.v1.tar" },
		func(l *layout.Layer) { l.SizeBytes++ },
		func(l *layout.Layer) { l.Digest = sum([]byte("none")) },
	} {
		other := l
		mutate(&other)
		require.Error(t, s.Check(t.Context(), other, layer.Limits{}))
		require.Error(t, s.Check(t.Context(), other, layer.Limits{}), "a failure is not remembered")
	}
	require.Error(t, s.Check(t.Context(), l, layer.Limits{Entries: 7}), "other limits are another question")
}

func TestAnIngestIsKeptOnlyIfCommittedUnderItsOwnDigest(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	data := []byte("cut straight in")
	in, err := s.Ingest(t.Context())
	require.NoError(t, err)
	_, err = in.Write(data)
	require.NoError(t, err)
	require.ErrorIs(t, in.Commit(t.Context(), sum([]byte("x")), int64(len(data))), layout.ErrDigest)
	require.ErrorIs(t, in.Commit(t.Context(), sum(data), 1), layout.ErrDigest)
	require.ErrorIs(t, in.Commit(t.Context(), "x", 1), layout.ErrDigest)
	require.NoError(t, in.Commit(t.Context(), sum(data), int64(len(data))))
	require.ErrorIs(t, in.Commit(t.Context(), sum(data), int64(len(data))), os.ErrClosed)
	_, err = in.Write(data)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, in.Close())
	ok, err := s.Has(t.Context(), sum(data))
	require.NoError(t, err)
	require.True(t, ok)

	in, err = s.Ingest(t.Context())
	require.NoError(t, err)
	_, err = in.Write([]byte("abandoned"))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	left, err := os.ReadDir(filepath.Join(dir, "ingest"))
	require.NoError(t, err)
	require.Empty(t, left)
}
