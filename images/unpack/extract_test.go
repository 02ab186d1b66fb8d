package unpack_test

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/unpack"
)

func TestLayersComeOutOneOverTheOther(t *testing.T) {
	t.Parallel()
	lower := tarOf(t,
		ent{typ: tar.TypeXGlobalHeader},
		ent{typ: tar.TypeDir, name: "./", mode: 0o755},
		ent{typ: tar.TypeDir, name: "./etc/", mode: 0o555},
		ent{name: "./etc/a", data: "1"}, ent{name: "/etc/b", data: "2", mode: 0o4755},
		ent{name: "bin/su", data: "su", mode: 0o6755, pax: map[string]string{"SCHILY.xattr.security.capability": "x"}},
		ent{typ: tar.TypeSymlink, name: "lib", data: "usr/lib"},
		ent{typ: tar.TypeDir, name: "usr/lib/", mode: 0o755},
		ent{typ: tar.TypeSymlink, name: "abs", data: "/etc"},
		ent{typ: tar.TypeLink, name: "hard", data: "./etc/a"},
		ent{name: "gone/x", data: "x"}, ent{name: "gone/y", data: "y"},
		ent{name: "opq/low", data: "low"}, ent{name: "opq/sub/low", data: "low"},
		ent{name: "file", data: "f"}, ent{typ: tar.TypeDir, name: "dir/"}, ent{name: "dir/x", data: "x"},
		ent{typ: tar.TypeSymlink, name: "link", data: "etc"},
		ent{name: "ro", data: "r", mode: 0o200},
	)
	upper := tarOf(t,
		ent{name: "etc/a", data: "new"},
		ent{name: "lib/through", data: "t"},
		ent{name: ".wh.gone"}, ent{name: ".wh.nothing"},
		ent{name: "opq/new", data: "n"}, ent{name: "opq/sub/new", data: "n"}, ent{name: "opq/.wh..wh..opq"},
		ent{typ: tar.TypeDir, name: "file/", mode: 0o700}, ent{name: "file/now", data: "d"},
		ent{name: "dir", data: "now a file"},
		ent{typ: tar.TypeDir, name: "link/", mode: 0o755}, ent{name: ".wh..wh.plnk"},
	)
	for _, mt := range []string{ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayer} {
		im := build(t, mt, lower, append(bytes.Clone(upper), make([]byte, 8192)...))
		dir := filepath.Join(t.TempDir(), "root")
		rep, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, dir, unpack.Limits{})
		require.NoError(t, err)
		require.Equal(t, []string{
			"abs -> /etc", "bin drwxr-xr-x", "bin/su -rwxr-xr-x su", "dir -rw-r--r-- now a file",
			"etc drwxr-xr-x", "etc/a -rw-r--r-- new", "etc/b -rwxr-xr-x 2",
			"file drwx------", "file/now -rw-r--r-- d", "hard -rw-r--r-- 1", "lib -> usr/lib", "link drwxr-xr-x",
			"opq drwxr-xr-x", "opq/new -rw-r--r-- n", "opq/sub drwxr-xr-x", "opq/sub/new -rw-r--r-- n",
			"ro -rw------- r", "usr drwxr-xr-x", "usr/lib drwxr-xr-x", "usr/lib/through -rw-r--r-- t",
		}, list(t, dir))
		require.Equal(t, 2, rep.Layers)
		require.Equal(t, 4, rep.Whiteouts)
		require.Equal(t, 3, rep.Dropped)
		fi, err := os.Stat(filepath.Join(dir, "etc/a"))
		require.NoError(t, err)
		require.True(t, fi.ModTime().Equal(time.Unix(1000, 0)))
		require.NoError(t, os.RemoveAll(dir), "the tree can be removed by its owner")
	}
}

func TestHostileLayersTouchNothingOutside(t *testing.T) {
	t.Parallel()
	for name, layers := range map[string][][]ent{
		"climbs":                 {{{name: "../evil", data: "x"}}},
		"climbs inside":          {{{name: "a/../../evil", data: "x"}}},
		"through absolute link":  {{{typ: tar.TypeSymlink, name: "l", data: "OUT"}, {name: "l/evil", data: "x"}}},
		"through relative link":  {{{typ: tar.TypeSymlink, name: "l", data: "../out"}, {name: "l/evil", data: "x"}}},
		"through two links":      {{{typ: tar.TypeSymlink, name: "a", data: "."}, {typ: tar.TypeSymlink, name: "b", data: "a/../../out"}, {name: "b/evil", data: "x"}}},
		"folder through link":    {{{typ: tar.TypeSymlink, name: "l", data: "../out"}, {typ: tar.TypeDir, name: "l/evil/", mode: 0o755}}},
		"link of lower layer":    {{{typ: tar.TypeSymlink, name: "l", data: "../out"}}, {{name: "l/evil", data: "x"}}},
		"hard link out":          {{{typ: tar.TypeLink, name: "h", data: "../out/victim"}}},
		"hard link absolute":     {{{typ: tar.TypeLink, name: "h", data: "OUT/victim"}}},
		"hard link by link":      {{{typ: tar.TypeSymlink, name: "l", data: "../out/victim"}, {typ: tar.TypeLink, name: "h", data: "l"}}},
		"hard link through link": {{{typ: tar.TypeSymlink, name: "l", data: "../out"}, {typ: tar.TypeLink, name: "h", data: "l/victim"}}},
		"hard link to itself":    {{{name: "a", data: "x"}, {typ: tar.TypeLink, name: "a", data: "a"}}},
		"hard link to nothing":   {{{typ: tar.TypeLink, name: "h", data: "none"}}},
		"whiteout up":            {{{name: "a/.wh..."}}},
		"whiteout of nothing":    {{{name: "a/.wh."}}},
		"whiteout of dot":        {{{name: "a/.wh.."}}},
		"whiteout through link":  {{{typ: tar.TypeSymlink, name: "l", data: "../out"}}, {{name: "l/.wh.victim"}}},
		"opaque through link":    {{{typ: tar.TypeSymlink, name: "l", data: "../out"}}, {{name: "l/.wh..wh..opq"}}},
		"below a whiteout":       {{{name: ".wh.a/b", data: "x"}}},
		"below a file":           {{{name: "a", data: "x"}, {name: "a/b", data: "x"}}},
		"device":                 {{{typ: tar.TypeBlock, name: "sda"}}},
		"character device":       {{{typ: tar.TypeChar, name: "mem"}}},
		"pipe":                   {{{typ: tar.TypeFifo, name: "p"}}},
		"unknown type":           {{{typ: 'Z', name: "z"}}},
		"root as a link":         {{{typ: tar.TypeSymlink, name: "./", data: "../out"}}},
		"link without target":    {{{typ: tar.TypeSymlink, name: "l"}}},
		"long name":              {{{name: strings.Repeat("a", 300), data: "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			out := filepath.Join(top, "out")
			require.NoError(t, os.Mkdir(out, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(out, "victim"), []byte("v"), 0o600))
			var tars [][]byte
			for _, es := range layers {
				for i := range es {
					es[i].data = strings.ReplaceAll(es[i].data, "OUT", out)
				}
				tars = append(tars, tarOf(t, es...))
			}
			im := build(t, ocispec.MediaTypeImageLayer, tars...)
			_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(top, "root"), unpack.Limits{})
			require.ErrorIs(t, err, unpack.ErrRefused)
			require.NoError(t, os.RemoveAll(filepath.Join(top, "root")))
			require.Equal(t, []string{"out drwx------", "out/victim -rw------- v"}, list(t, top))
		})
	}
}

func TestReplacingALinkDoesNotFollowIt(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(top, "victim"), []byte("v"), 0o600))
	im := build(t, ocispec.MediaTypeImageLayer,
		tarOf(t, ent{typ: tar.TypeSymlink, name: "a", data: "../victim"}, ent{name: "b", data: "b"}, ent{typ: tar.TypeLink, name: "c", data: "b"}),
		tarOf(t, ent{name: "a", data: "mine"}, ent{name: "c", data: "changed"}))
	_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, filepath.Join(top, "root"), unpack.Limits{})
	require.NoError(t, err)
	require.Equal(t, []string{
		"root drwx------", "root/a -rw-r--r-- mine", "root/b -rw-r--r-- b", "root/c -rw-r--r-- changed", "victim -rw------- v",
	}, list(t, top))
}

// FuzzUnpack holds: whatever a layer is, nothing outside the root changes, what
// is inside is files, folders and links without setuid, and the root can be
// removed.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, ent{name: "a/b", data: "x"}, ent{typ: tar.TypeSymlink, name: "l", data: "../out"}, ent{name: "l/evil", data: "x"}))
	f.Add(tarOf(f, ent{name: "a", data: "x", mode: 0o4755}, ent{typ: tar.TypeLink, name: "h", data: "a"}, ent{name: ".wh.a"}))
	f.Add(tarOf(f, ent{typ: tar.TypeDir, name: "d/", mode: 0o000}, ent{name: "d/.wh..wh..opq"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		top := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(top, "out"), []byte("v"), 0o600))
		im := build(t, ocispec.MediaTypeImageLayer, b)
		root := filepath.Join(top, "root")
		_, err := unpack.Unpack(t.Context(), im.open, im.manifest, im.config, root, unpack.Limits{Entries: 200, RawBytes: 1 << 20})
		require.NotErrorIs(t, err, unpack.ErrTampered)
		require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			require.Zero(t, d.Type()&^(fs.ModeDir|fs.ModeSymlink), p)
			fi, err := d.Info()
			require.NoError(t, err)
			require.Zero(t, fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky), p)
			return nil
		}))
		require.NoError(t, os.RemoveAll(root))
		require.Equal(t, []string{"out -rw------- v"}, list(t, top))
	})
}
