package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/layer"
)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

const plainType = "application/vnd.oci.image.layer.v1.tar"

// tarOf writes headers as given; the content of a file is its size in x.
func tarOf(tb testing.TB, hs ...*tar.Header) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		require.NoError(tb, w.WriteHeader(h))
		_, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		require.NoError(tb, err)
	}
	require.NoError(tb, w.Close())
	return b.Bytes()
}

func announce(b []byte) layer.Layer {
	return layer.Layer{MediaType: plainType, Digest: sum(b), DiffID: sum(b), SizeBytes: int64(len(b))}
}

func file(name string, mutate ...func(*tar.Header)) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 3, ModTime: time.Unix(0, 0)}
	for _, m := range mutate {
		m(h)
	}
	return h
}

func folder(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}
}

func symlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: time.Unix(0, 0)}
}

func TestLayersThatCutCannotHaveWrittenAreRefused(t *testing.T) {
	t.Parallel()
	ok := tarOf(t, folder("a"), file("a/b"), symlink("a/c", "../a/b"), file("a-b"))
	require.NoError(t, layer.Check(t.Context(), bytes.NewReader(ok), announce(ok), layer.Limits{}))
	for name, c := range map[string]struct {
		hs   []*tar.Header
		code string
	}{
		"climbs":            {[]*tar.Header{file("../x")}, layer.CodeName},
		"climbs inside":     {[]*tar.Header{folder("a"), file("a/../../x")}, layer.CodeName},
		"absolute":          {[]*tar.Header{file("/etc/passwd")}, layer.CodeName},
		"dot":               {[]*tar.Header{file("./x")}, layer.CodeName},
		"control":           {[]*tar.Header{file("a\nb")}, layer.CodeName},
		"whiteout":          {[]*tar.Header{file(".wh.etc")}, layer.CodeName},
		"opaque":            {[]*tar.Header{file(".wh..wh..opq")}, layer.CodeName},
		"device":            {[]*tar.Header{{Typeflag: tar.TypeBlock, Name: "sda", Mode: 0o644, ModTime: time.Unix(0, 0)}}, layer.CodeType},
		"character device":  {[]*tar.Header{{Typeflag: tar.TypeChar, Name: "mem", Mode: 0o644, ModTime: time.Unix(0, 0)}}, layer.CodeType},
		"pipe":              {[]*tar.Header{{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o644, ModTime: time.Unix(0, 0)}}, layer.CodeType},
		"hard link":         {[]*tar.Header{file("a"), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a", ModTime: time.Unix(0, 0)}}, layer.CodeType},
		"setuid":            {[]*tar.Header{file("a", func(h *tar.Header) { h.Mode = 0o4755 })}, layer.CodeMalformed},
		"setgid folder":     {[]*tar.Header{{Typeflag: tar.TypeDir, Name: "a/", Mode: 0o2755, ModTime: time.Unix(0, 0)}}, layer.CodeMalformed},
		"world-writable":    {[]*tar.Header{file("a", func(h *tar.Header) { h.Mode = 0o666 })}, layer.CodeMalformed},
		"owner":             {[]*tar.Header{file("a", func(h *tar.Header) { h.Uid = 1 })}, layer.CodeMalformed},
		"owner name":        {[]*tar.Header{file("a", func(h *tar.Header) { h.Uname = "root" })}, layer.CodeMalformed},
		"time":              {[]*tar.Header{file("a", func(h *tar.Header) { h.ModTime = time.Unix(1, 0) })}, layer.CodeMalformed},
		"capability":        {[]*tar.Header{file("a", func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"} })}, layer.CodeMalformed},
		"gnu form":          {[]*tar.Header{file("a", func(h *tar.Header) { h.Format = tar.FormatGNU })}, layer.CodeMalformed},
		"twice":             {[]*tar.Header{file("a"), file("a")}, layer.CodeMalformed},
		"unsorted":          {[]*tar.Header{file("b"), file("a")}, layer.CodeMalformed},
		"orphan":            {[]*tar.Header{file("a/b")}, layer.CodeMalformed},
		"below a file":      {[]*tar.Header{file("a"), file("a/b")}, layer.CodeMalformed},
		"through a link":    {[]*tar.Header{symlink("a", "b"), file("a/x")}, layer.CodeMalformed},
		"folder named file": {[]*tar.Header{{Typeflag: tar.TypeSymlink, Name: "a/", Linkname: "b", Mode: 0o777, ModTime: time.Unix(0, 0)}}, layer.CodeMalformed},
		"absolute link":     {[]*tar.Header{symlink("a", "/etc")}, layer.CodeLink},
		"link out":          {[]*tar.Header{folder("a"), symlink("a/b", "../../x")}, layer.CodeLink},
		"empty link":        {[]*tar.Header{symlink("a", "")}, layer.CodeLink},
		"secret":            {[]*tar.Header{file("id_ed25519")}, layer.CodeSecret},
		"too many":          {[]*tar.Header{file("a"), file("b"), file("c"), file("d"), file("e")}, layer.CodeLimit},
		"large file":        {[]*tar.Header{file("a", func(h *tar.Header) { h.Size = 2000 })}, layer.CodeLimit},
		"large layer": {[]*tar.Header{
			file("a", func(h *tar.Header) { h.Size = 900 }), file("b", func(h *tar.Header) { h.Size = 900 }), file("c", func(h *tar.Header) { h.Size = 900 }),
		}, layer.CodeLimit},
	} {
		b := tarOf(t, c.hs...)
		err := layer.Check(t.Context(), bytes.NewReader(b), announce(b), layer.Limits{Entries: 4, FileBytes: 1000, RawBytes: 4096})
		e, ok := errors.AsType[*layer.Error](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, c.code, e.Code, "%s: %v", name, err)
	}
}

func TestALayerOtherThanTheAnnouncedOneIsRefused(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a": strings.Repeat("text ", 500)})
	for _, c := range []layer.Compression{layer.Zstd, layer.Gzip, layer.Plain} {
		good, l := cut(t, dir, layer.Options{Compression: c})
		refused := func(b []byte, want layer.Layer) string {
			err := layer.Check(t.Context(), bytes.NewReader(b), want, layer.Limits{})
			e, ok := errors.AsType[*layer.Error](err)
			require.True(t, ok, "%s: %v", c, err)
			return e.Code
		}
		for i, mutate := range []func(*layer.Layer){
			func(l *layer.Layer) { l.Digest = sum(nil) },
			func(l *layer.Layer) { l.DiffID = sum(nil) },
			func(l *layer.Layer) { l.SizeBytes++ },
			func(l *layer.Layer) { l.RawBytes++ },
			func(l *layer.Layer) { l.Entries++ },
		} {
			want := l
			mutate(&want)
			require.Equal(t, layer.CodeDigest, refused(good, want), "%s %d", c, i)
		}
		want := l
		want.SizeBytes--
		require.NotEmpty(t, refused(good, want))
		require.NotEmpty(t, refused(append(bytes.Clone(good), 0), l), "a byte more")
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 1
		require.NotEmpty(t, refused(flipped, l))
		require.Equal(t, layer.CodeOption, refused(good, layer.Layer{MediaType: l.MediaType}))
		want = l
		want.MediaType = "application/octet-stream"
		require.Equal(t, layer.CodeOption, refused(good, want))
	}
	b := append(tarOf(t, file("a")), make([]byte, 512)...)
	err := layer.Check(t.Context(), bytes.NewReader(b), announce(b), layer.Limits{})
	require.ErrorContains(t, err, "nothing follows the end of a tar")
}

func TestABombIsCutOffAtTheLimit(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	require.NoError(t, w.WriteHeader(file("a", func(h *tar.Header) { h.Size = 1 << 30 })))
	_, err = io.CopyN(w, zeros{}, 64<<20)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.Less(t, b.Len(), 1<<20)
	l := announce(b.Bytes())
	l.MediaType = "application/vnd.oci.image.layer.v1.tar+zstd"
	err = layer.Check(t.Context(), bytes.NewReader(b.Bytes()), l, layer.Limits{RawBytes: 1 << 20})
	e, ok := errors.AsType[*layer.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, layer.CodeLimit, e.Code)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCheckEndsWithItsContextAndNamesAReadError(t *testing.T) {
	t.Parallel()
	b := tarOf(t, file("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, layer.Check(ctx, bytes.NewReader(b), announce(b), layer.Limits{}), context.Canceled)
	broken := errors.New("disk")
	require.ErrorIs(t, layer.Check(t.Context(), io.MultiReader(bytes.NewReader(b[:600]), iotest.ErrReader(broken)), announce(b), layer.Limits{}), broken)
}

// FuzzCheck holds: whatever the bytes are, Check ends with a refusal or with a
// layer whose entries all stay inside the image, and never panics.
func FuzzCheck(f *testing.F) {
	f.Add(tarOf(f, folder("a"), file("a/b"), symlink("a/c", "b")))
	f.Add(tarOf(f, file("../x")))
	f.Add([]byte("not a tar"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		lim := layer.Limits{Entries: 100, RawBytes: 1 << 20}
		err := layer.Check(t.Context(), bytes.NewReader(b), announce(b), lim)
		if err != nil {
			_, ok := errors.AsType[*layer.Error](err)
			require.True(t, ok, "%v", err)
			return
		}
		tr := tar.NewReader(bytes.NewReader(b))
		for {
			h, err := tr.Next()
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				return
			}
			require.False(t, strings.HasPrefix(h.Name, "/") || strings.Contains("/"+h.Name+"/", "/../"))
			require.Contains(t, []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink}, h.Typeflag)
			require.Zero(t, h.Mode&^0o777)
		}
	})
}
