package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valico-hpc/valico/images/layer"
)

// tree writes files below a new folder; a name that ends in / is a folder.
func tree(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			require.NoError(tb, os.MkdirAll(p, 0o755))
			continue
		}
		require.NoError(tb, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(tb, os.WriteFile(p, []byte(content), 0o600))
	}
	return dir
}

func cut(tb testing.TB, dir string, o layer.Options) ([]byte, layer.Layer) {
	tb.Helper()
	var b bytes.Buffer
	l, err := layer.Cut(tb.Context(), &b, dir, o)
	require.NoError(tb, err)
	require.Equal(tb, int64(b.Len()), l.SizeBytes)
	return b.Bytes(), l
}

// entries lists a layer as "name mode type content".
func entries(tb testing.TB, blob []byte, mediaType string) []string {
	tb.Helper()
	z, err := layer.Decompress(mediaType, bytes.NewReader(blob))
	require.NoError(tb, err)
	tr := tar.NewReader(z)
	var out []string
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(tb, err)
		body, err := io.ReadAll(tr)
		require.NoError(tb, err)
		require.Zero(tb, h.Uid+h.Gid)
		require.True(tb, h.ModTime.Equal(time.Unix(0, 0)))
		out = append(out, strings.TrimSpace(h.Name+" "+h.FileInfo().Mode().String()+" "+h.Linkname+string(body)))
	}
}

func TestSameTreeGivesSameBytesWhateverItsTimesModesAndOrder(t *testing.T) {
	t.Parallel()
	files := map[string]string{"b.txt": "b", "a/z": "z", "a/a": "", "a-b": "x", "run.sh": "#!", "ü/é": "1"}
	one, two := tree(t, files), tree(t, files)
	for _, d := range []string{one, two} {
		require.NoError(t, os.Chmod(filepath.Join(d, "run.sh"), 0o700))
		require.NoError(t, os.Symlink("../b.txt", filepath.Join(d, "a", "link")))
	}
	require.NoError(t, os.Chtimes(filepath.Join(two, "b.txt"), time.Unix(5, 0), time.Unix(7, 0)))
	require.NoError(t, os.Chmod(filepath.Join(two, "b.txt"), 0o664))
	require.NoError(t, os.Chmod(filepath.Join(two, "run.sh"), 0o4775|os.ModeSetuid))
	for _, c := range []layer.Compression{layer.Zstd, layer.Gzip, layer.Plain} {
		b1, l1 := cut(t, one, layer.Options{Prefix: "/app/src/", Compression: c})
		b2, l2 := cut(t, two, layer.Options{Prefix: "app/src", Compression: c})
		require.Equal(t, l1, l2)
		require.True(t, bytes.Equal(b1, b2))
		require.NoError(t, layer.Check(t.Context(), bytes.NewReader(b1), l1, layer.Limits{}))
		require.Equal(t, []string{
			"app/ drwxr-xr-x", "app/src/ drwxr-xr-x", "app/src/a/ drwxr-xr-x", "app/src/a/a -rw-r--r--",
			"app/src/a/link Lrwxrwxrwx ../b.txt", "app/src/a/z -rw-r--r-- z", "app/src/a-b -rw-r--r-- x",
			"app/src/b.txt -rw-r--r-- b", "app/src/run.sh -rwxr-xr-x #!", "app/src/ü/ drwxr-xr-x", "app/src/ü/é -rw-r--r-- 1",
		}, entries(t, b1, l1.MediaType))
	}
}

func TestDiffIDDoesNotDependOnTheCompression(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a": strings.Repeat("text ", 1000)})
	_, z := cut(t, dir, layer.Options{})
	_, g := cut(t, dir, layer.Options{Compression: layer.Gzip})
	p, plain := cut(t, dir, layer.Options{Compression: layer.Plain})
	require.Equal(t, z.DiffID, g.DiffID)
	require.Equal(t, plain.DiffID, plain.Digest)
	require.NotEqual(t, z.Digest, g.Digest)
	require.Equal(t, int64(len(p)), plain.RawBytes)
	require.Equal(t, "application/vnd.oci.image.layer.v1.tar+zstd", z.MediaType)
}

func TestHardLinksBecomeFilesOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a": "same"})
	require.NoError(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	b, l := cut(t, dir, layer.Options{})
	require.Equal(t, []string{"a -rw-r--r-- same", "b -rw-r--r-- same"}, entries(t, b, l.MediaType))
}

func TestHostileFoldersAreRefusedWithPathRuleAndHelp(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("s"), 0o600))
	link := func(name, target string) func(string) error {
		return func(dir string) error {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				return err
			}
			return os.Symlink(target, filepath.Join(dir, name))
		}
	}
	file := func(name, content string) func(string) error {
		return func(dir string) error {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
		}
	}
	const pem = "-----BEGIN EC PRIVATE KEY-----\nx\n"
	cases := map[string]struct {
		make func(dir string) error
		code string
		path string
	}{
		"absolute link":        {link("l", outside), layer.CodeLink, "l -> "},
		"absolute link inside": {link("l", "/etc/passwd"), layer.CodeLink, "l -> /etc/passwd"},
		"link up":              {link("d/l", "../../x"), layer.CodeLink, "d/l -> ../../x"},
		"link up in text":      {link("l", "d/../../x"), layer.CodeLink, "l"},
		"link up through link": {func(dir string) error {
			return errors.Join(link("sub/up", "..")(dir), link("sub/x", "up/../y")(dir))
		}, layer.CodeLink, "sub/x"},
		"link loop": {link("l", "l"), layer.CodeLink, "l"},
		"named pipe": {
			func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "p"), 0o600) },
			layer.CodeType, "p",
		},
		"socket": {func(dir string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}, layer.CodeType, "s"},
		"line break in name":  {file("a\nb", ""), layer.CodeName, `"a\nb"`},
		"escape in name":      {file("a\x1b[31m", ""), layer.CodeName, `"a\x1b[31m"`},
		"bidi in name":        {file("a\u202eb", ""), layer.CodeName, `"a\u202eb"`},
		"invalid utf-8":       {file("a\xff", ""), layer.CodeName, `"a\xff"`},
		"whiteout":            {file("d/.wh.x", ""), layer.CodeName, "d/.wh.x"},
		"ssh key":             {file(".x/id_rsa", ""), layer.CodeSecret, ".x/id_rsa"},
		"environment":         {file("app/.env", ""), layer.CodeSecret, "app/.env"},
		"environment variant": {file(".env.production", ""), layer.CodeSecret, ".env.production"},
		"netrc":               {file(".netrc", ""), layer.CodeSecret, ".netrc"},
		"repository":          {file(".git/config", ""), layer.CodeSecret, ".git"},
		"work tree":           {file("sub/.git", "gitdir: x"), layer.CodeSecret, "sub/.git"},
		"cloud folder":        {file(".aws/x", ""), layer.CodeSecret, ".aws"},
		"key store":           {file("k.P12", ""), layer.CodeSecret, "k.P12"},
		"key in pem":          {file("tls.pem", "text\n"+pem), layer.CodeSecret, "tls.pem"},
		"key without suffix":  {file("mykey", pem), layer.CodeSecret, "mykey"},
		"long path":           {file(strings.Repeat("aaaaaaaaa/", 20)+"x", ""), layer.CodeLimit, "aaaaaaaaa"},
		"deep path":           {file(strings.Repeat("a/", 40)+"x", ""), layer.CodeLimit, "a/a/"},
		"large file":          {file("big", strings.Repeat("x", 5000)), layer.CodeLimit, "big"},
		"many files":          {func(dir string) error { return manyFiles(dir, 60) }, layer.CodeLimit, "f"},
		"large tree":          {func(dir string) error { return manyFiles(dir, 40) }, layer.CodeLimit, "f"},
		"bad pattern":         {file(layer.IgnoreFile, "ok\na[\n"), layer.CodeIgnore, layer.IgnoreFile + ":2"},
		"ignore file is link": {link(layer.IgnoreFile, outside), layer.CodeIgnore, layer.IgnoreFile},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, c.make(dir))
			_, err := layer.Cut(t.Context(), io.Discard, dir, layer.Options{
				Limits: layer.Limits{PathBytes: 150, Depth: 30, FileBytes: 4000, RawBytes: 30_000, Entries: 50},
			})
			e, ok := errors.AsType[*layer.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.code, e.Code, "%v", err)
			require.True(t, strings.HasPrefix(e.Path, c.path), "%q", e.Path)
			require.NotEmpty(t, e.Rule)
			require.NotEmpty(t, e.Help)
		})
	}
}

func manyFiles(dir string, n int) error {
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "f"+string(rune('0'+i/10))+string(rune('0'+i%10))), bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func TestAllRefusalsOfATreeComeAtOnce(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{".env": "", ".git/config": "", "id_rsa": "", "ok": ""})
	_, err := layer.Cut(t.Context(), io.Discard, dir, layer.Options{})
	all, ok := errors.AsType[layer.Errors](err)
	require.True(t, ok)
	require.Len(t, all, 3)
	require.Equal(t, 3, len(strings.Split(err.Error(), "\n")))
}

func TestHelpOfASecretIsThePatternThatLeavesItOut(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{".env": "", ".git/config": "", "k/id_rsa": "", "[x]*/.env": "", "ok": "1"})
	_, err := layer.Cut(t.Context(), io.Discard, dir, layer.Options{})
	all, ok := errors.AsType[layer.Errors](err)
	require.True(t, ok)
	var patterns strings.Builder
	for _, e := range all {
		_, line, found := strings.Cut(e.Help, "add the line ")
		require.True(t, found)
		line, _, _ = strings.Cut(line, " to ")
		patterns.WriteString(line + "\n")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, layer.IgnoreFile), []byte(patterns.String()), 0o600))
	b, l := cut(t, dir, layer.Options{})
	require.Equal(t, []string{"[x]*/ drwxr-xr-x", "k/ drwxr-xr-x", "ok -rw-r--r-- 1"}, entries(t, b, l.MediaType))
}

func TestIgnorePatternsLeaveOutWhatTheySay(t *testing.T) {
	t.Parallel()
	files := []string{"a.log", "keep.log", "d/a.log", "d/x/b.txt", "build/o", "src/build/o", "doc/a/b/c.md", "doc/c.md", "#x", "!y", "p1", "p2"}
	content := map[string]string{}
	for _, f := range files {
		content[f] = ""
	}
	for patterns, left := range map[string]string{
		"":                       "!y #x a.log build/o d/a.log d/x/b.txt doc/a/b/c.md doc/c.md keep.log p1 p2 src/build/o",
		"*.log\n!keep.log":       "!y #x build/o d/x/b.txt doc/a/b/c.md doc/c.md keep.log p1 p2 src/build/o",
		"/build/\n# note\n\nd/x": "!y #x a.log d/a.log doc/a/b/c.md doc/c.md keep.log p1 p2 src/build/o",
		"build/\nd":              "!y #x a.log doc/a/b/c.md doc/c.md keep.log p1 p2",
		"doc/**/c.md":            "!y #x a.log build/o d/a.log d/x/b.txt keep.log p1 p2 src/build/o",
		"doc/*/\n**/x/**":        "!y #x a.log build/o d/a.log doc/c.md keep.log p1 p2 src/build/o",
		`\#x` + "\n" + `\!y`:     "a.log build/o d/a.log d/x/b.txt doc/a/b/c.md doc/c.md keep.log p1 p2 src/build/o",
		"p[12]\n!p[!1]\na.log  ": "!y #x build/o d/x/b.txt doc/a/b/c.md doc/c.md keep.log p2 src/build/o",
		"*\n!a.log\n!d":          "a.log d/a.log",
		"p1/":                    "!y #x a.log build/o d/a.log d/x/b.txt doc/a/b/c.md doc/c.md keep.log p1 p2 src/build/o",
	} {
		dir := tree(t, content)
		require.NoError(t, os.WriteFile(filepath.Join(dir, layer.IgnoreFile), []byte(patterns), 0o600))
		b, l := cut(t, dir, layer.Options{})
		var got []string
		for _, e := range entries(t, b, l.MediaType) {
			if name, _, _ := strings.Cut(e, " "); !strings.HasSuffix(name, "/") {
				got = append(got, name)
			}
		}
		require.ElementsMatch(t, strings.Fields(left), got, "patterns %q", patterns)
	}
}

// growing is a writer that changes a file of the tree while the tree is cut.
type growing struct {
	change func() error
	done   bool
}

func (g *growing) Write(p []byte) (int, error) {
	if !g.done {
		g.done = true
		if err := g.change(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func TestFilesThatChangeWhileTheyAreReadAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(dir, victim string) error{
		"grows": func(_, victim string) error {
			f, err := os.OpenFile(victim, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("x")
				err = errors.Join(err, f.Close())
			}
			return err
		},
		"shrinks":   func(_, victim string) error { return os.Truncate(victim, 10) },
		"touched":   func(_, victim string) error { return os.Chtimes(victim, time.Unix(9, 0), time.Unix(9, 0)) },
		"vanishes":  func(_, victim string) error { return os.Remove(victim) },
		"replaced":  func(dir, victim string) error { return os.Rename(filepath.Join(dir, "a"), victim) },
		"link out":  func(_, victim string) error { return errors.Join(os.Remove(victim), os.Symlink("/etc/passwd", victim)) },
		"link in":   func(_, victim string) error { return errors.Join(os.Remove(victim), os.Symlink("a", victim)) },
		"made pipe": func(_, victim string) error { return errors.Join(os.Remove(victim), syscall.Mkfifo(victim, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			big := strings.Repeat("x", 3<<20)
			dir := tree(t, map[string]string{"a": big, "b": big})
			g := &growing{change: func() error { return change(dir, filepath.Join(dir, "b")) }}
			_, err := layer.Cut(t.Context(), g, dir, layer.Options{Compression: layer.Plain})
			e, ok := errors.AsType[*layer.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, layer.CodeChanged, e.Code)
			require.Equal(t, "b", e.Path)
		})
	}
}

func TestCutStopsWhenItsContextEndsOrItsWriterFails(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a": strings.Repeat("x", 5<<20)})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := layer.Cut(ctx, &growing{change: func() error { cancel(); return nil }}, dir, layer.Options{Compression: layer.Plain})
	require.ErrorIs(t, err, context.Canceled)
	full := errors.New("disk full")
	_, err = layer.Cut(t.Context(), &growing{change: func() error { return full }}, dir, layer.Options{})
	require.ErrorIs(t, err, full)
	_, err = layer.Cut(t.Context(), io.Discard, filepath.Join(dir, "none"), layer.Options{})
	require.Error(t, err)
	_, err = layer.Cut(t.Context(), io.Discard, dir, layer.Options{Prefix: "../x"})
	require.Error(t, err)
	_, err = layer.Cut(t.Context(), io.Discard, dir, layer.Options{Compression: "lzma"})
	require.Error(t, err)
}

func TestWhatIsCutPassesTheCheck(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "t") //nolint:usetesting // one folder for each draw
		require.NoError(rt, err)
		name := rapid.StringMatching(`[a-z0-9äé ._-]{0,3}[a-z-]`)
		for range rapid.IntRange(0, 12).Draw(rt, "files") {
			p := filepath.Join(dir, filepath.Join(rapid.SliceOfN(name, 1, 4).Draw(rt, "path")...))
			if os.MkdirAll(filepath.Dir(p), 0o755) == nil {
				_ = os.WriteFile(p, rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(rt, "content"), 0o600) // may be a folder
			}
		}
		var b bytes.Buffer
		c := rapid.SampledFrom([]layer.Compression{layer.Zstd, layer.Gzip, layer.Plain}).Draw(rt, "compression")
		l, err := layer.Cut(t.Context(), &b, dir, layer.Options{Compression: c, Prefix: rapid.SampledFrom([]string{"", "x", "x/y"}).Draw(rt, "prefix")})
		require.NoError(rt, err)
		require.NoError(rt, layer.Check(t.Context(), bytes.NewReader(b.Bytes()), l, layer.Limits{}))
	})
}

func TestPackageReachesNoNetworkCode(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.NotContains(t, strings.Fields(string(out)), "net/http")
}
