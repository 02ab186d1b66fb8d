package app_test

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	randv2 "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/layer"
)

// BenchmarkPackagingPath compares the processor time of the whole way of an
// image as a user has it, client and broker together in this process, with that
// of a bare tar, zstd and one sha256 over the same tree: x-bare-cpu. The way is
// the command line's: cut the layer to a temporary file, ask whether the broker
// has it, upload it over HTTP, submit the job; the broker checks what it
// receives, stores it, checks it as a layer, assembles, signs and keeps the
// image. x-bare-cpu-broker is the broker's share, with the client's part in
// sending, since both are one process here: what a broker spends on an image,
// which the project holds to at most 1.5. images/layer.BenchmarkPackage is the same without the way over HTTP.
func BenchmarkPackagingPath(b *testing.B) {
	const mib = 128
	src := b.TempDir()
	mixedTree(b, src, mib)
	var cut, upload, pack, bare time.Duration
	turn := func() {
		work := b.TempDir()
		p := newPackaging(b, work) // builds the commands once, which must not come in between
		runtime.GC()
		bare += cpuOf(b, func() error { return bareArchive(src, filepath.Join(work, "bare")) })
		runtime.GC()
		cut += cpuOf(b, func() error { return p.cut(b.Context(), src) })
		upload += cpuOf(b, func() error { return p.upload(b.Context()) })
		pack += cpuOf(b, func() error { return p.pack(b.Context()) })
		p.close()
		require.NoError(b, os.RemoveAll(work))
	}
	const turns = 2 // so that both meet the same machine
	b.SetBytes(turns * mib << 20)
	for b.Loop() {
		for range turns {
			turn()
		}
	}
	all := cut + upload + pack
	brokers := (upload + pack).Seconds() / bare.Seconds()
	b.ReportMetric(all.Seconds()/bare.Seconds(), "x-bare-cpu")
	b.ReportMetric(brokers, "x-bare-cpu-broker")
	b.Logf("%d runs of %d MiB, CPU seconds: cut %.2f, upload and store %.2f, admit, check and assemble %.2f; bare %.2f: ratios %.2f and %.2f of the broker",
		turns*b.N, mib, cut.Seconds(), upload.Seconds(), pack.Seconds(), bare.Seconds(), all.Seconds()/bare.Seconds(), brokers)
}

// packaging is a broker in this process that stops at a packaged image.
type packaging struct {
	*demo.World
	work     string
	packaged chan struct{}
	layer    layer.Layer
	close    func()
}

func newPackaging(b *testing.B, work string) *packaging {
	b.Helper()
	p := &packaging{work: work, packaged: make(chan struct{})}
	authority, err := demo.NewAuthority(work)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	cfg := app.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.Authorities = filepath.Join(work, "broker"), "127.0.0.1:0", authority.AuthoritiesFile()
	cfg.Exec = filepath.Join(commands(b), "valico-exec")
	cfg.Step = func(name string) {
		if name == "packaged" {
			close(p.packaged)
			<-ctx.Done()
		}
	}
	a, err := app.Open(ctx, cfg, "bench")
	require.NoError(b, err)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	p.close = func() {
		cancel()
		require.NoError(b, <-done)
		require.NoError(b, a.Close())
	}
	site, err := demo.LocalSite()
	require.NoError(b, err)
	p.World, err = demo.Prepare(ctx, demo.WorldConfig{
		Dir: work, URL: a.URL(), OperatorToken: a.OperatorTokenFile(), Authority: authority, Site: site,
		DataDir: filepath.Join(work, "cohort"), GPUHours: 10,
	})
	require.NoError(b, err)
	return p
}

func (p *packaging) file() string { return filepath.Join(p.work, "layer") }

func (p *packaging) cut(ctx context.Context, src string) error {
	f, err := os.Create(p.file())
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the broker checks the digest
	p.layer, err = layer.Cut(ctx, f, src, layer.Options{})
	return err
}

func (p *packaging) upload(ctx context.Context) error {
	c, d := p.Client(demo.Developer), broker.Digest(p.layer.Digest)
	if have, err := c.HasBlob(ctx, d); err != nil || have {
		return fmt.Errorf("the broker has the layer: %t: %w", have, err)
	}
	return c.PutBlob(ctx, d, p.layer.SizeBytes, func() (io.ReadCloser, error) {
		f, err := os.Open(p.file())
		return struct{ io.ReadCloser }{f}, err // as the command line wraps it, to show how far it is
	})
}

func (p *packaging) pack(ctx context.Context) error {
	file, err := jobspec.ParseYAML([]byte(demo.JobFile{Permit: p.Permit.ID, Site: "local", Epochs: 3, Walltime: 2 * time.Minute}.YAML()))
	if err != nil {
		return err
	}
	l := p.layer
	_, err = p.Client(demo.Developer).Submit(ctx, file.Spec([]broker.Layer{{
		Class: "source", MediaType: l.MediaType, Digest: broker.Digest(l.Digest), DiffID: broker.Digest(l.DiffID), SizeBytes: l.SizeBytes,
	}}, "none"), "package")
	if err != nil {
		return err
	}
	select {
	case <-p.packaged:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("the image was not packaged within a minute")
	}
}

// bareArchive is the least that makes a compressed, hashed archive of a tree.
func bareArchive(src, dst string) error {
	f, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a file of the benchmark
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
		in, err := os.Open(p)
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

// mixedTree writes a tree of mib MiB: half of it weights (normal floats), three
// eighths text without repeats, one eighth small sources.
func mixedTree(b *testing.B, dir string, mib int) {
	b.Helper()
	rng := randv2.New(randv2.NewPCG(1, 2))
	write := func(name string, content []byte) {
		p := filepath.Join(dir, name)
		require.NoError(b, os.MkdirAll(filepath.Dir(p), 0o750))
		require.NoError(b, os.WriteFile(p, content, 0o600))
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
	zipf := randv2.NewZipf(rng, 1.1, 4, uint64(len(words)-1))
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

func word(rng *randv2.Rand) string {
	b := make([]byte, 2+rng.IntN(9))
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return string(b)
}
