// Package layertest is what benchmarks of layers share, wherever they stand: a
// tree to package and the least that could be done with it. Tests alone import
// it.
package layertest

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// BareArchive is the least that makes a compressed, hashed archive of a tree.
func BareArchive(src, dst string) error {
	f, err := os.Create(dst) //nolint:gosec // a benchmark's own tree
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a file of the caller's
	h := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
	z, err := zstd.NewWriter(out, zstd.WithWindowSize(4<<20), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	buf := make([]byte, 1<<20)
	err = filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(p, src+"/"), Size: fi.Size(), Mode: 0o644}); err != nil {
			return err
		}
		in, err := os.Open(p) //nolint:gosec // a benchmark's own tree
		if err != nil {
			return err
		}
		defer in.Close() //nolint:errcheck // read only
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, buf)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range []func() error{w.Close, z.Close, out.Flush} {
		if err := c(); err != nil {
			return err
		}
	}
	_ = h.Sum(nil)
	return nil
}

// MixedTree writes a tree of mib MiB: half of it weights (normal floats), three
// eighths text without repeats, one eighth small sources.
func MixedTree(tb testing.TB, dir string, mib int) {
	tb.Helper()
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a benchmark's own tree
	write := func(name string, content []byte) {
		p := filepath.Join(dir, name)
		require.NoError(tb, os.MkdirAll(filepath.Dir(p), 0o750))
		require.NoError(tb, os.WriteFile(p, content, 0o600))
	}
	for i := range mib / 16 {
		weights := make([]byte, 0, 8<<20)
		for len(weights) < cap(weights) {
			weights = binary.LittleEndian.AppendUint32(weights, math.Float32bits(float32(rng.NormFloat64())))
		}
		write(fmt.Sprintf("weights/%02d.bin", i), weights)
	}
	words := make([]string, 20_000)
	for i := range words {
		words[i] = word(rng)
	}
	zipf := rand.NewZipf(rng, 1.1, 4, uint64(len(words)-1)) //nolint:gosec // a benchmark's own tree
	text := func(size int) []byte {
		var t strings.Builder
		for t.Len() < size {
			t.WriteString(words[zipf.Uint64()] + " ")
		}
		return []byte(t.String()[:size])
	}
	for i := range mib * 3 / 8 / 4 {
		write(fmt.Sprintf("text/%02d.txt", i), text(4<<20))
	}
	for i := range mib * (1 << 20) / 8 / 8192 {
		write(fmt.Sprintf("src/p%02d/f%04d.py", i%50, i), text(8192))
	}
}

func word(rng *rand.Rand) string {
	b := make([]byte, 2+rng.IntN(9))
	for i := range b {
		b[i] = byte('a' + rng.IntN(26)) //nolint:gosec // a benchmark's own tree
	}
	return string(b)
}
