package app_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layer/layertest"
)

// BenchmarkPackagingPath compares the processor time of the whole way of an
// image as a user has it, client and broker together in this process, with that
// of a bare tar, zstd and one sha256 over the same tree: x-bare-cpu. The way is
// the command line's: cut the layer to a temporary file, ask whether the broker
// has it, upload it over HTTP, submit the job; the broker checks what it
// receives, stores it, checks it as a layer, assembles, signs and keeps the
// image. x-bare-cpu-broker is the broker's share, with the client's part in
// sending, since both are one process here: what a broker spends on an image,
// which the project holds to at most 1.5. images/layer.BenchmarkPackage is the
// same without the way over HTTP.
func BenchmarkPackagingPath(b *testing.B) {
	const mib = 128
	src := b.TempDir()
	layertest.MixedTree(b, src, mib)
	var cut, upload, pack, bare time.Duration
	turn := func() {
		work := b.TempDir()
		p := newPackaging(b, work) // builds the commands once, which must not come in between
		runtime.GC()
		bare += cpuOf(b, func() error { return layertest.BareArchive(src, filepath.Join(work, "bare")) })
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
