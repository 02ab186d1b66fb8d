package layer_test

import (
	"crypto"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layer/layertest"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/sign"
)

// BenchmarkPackage compares the CPU time of packaging (cut a layer into the
// store, assemble the image, sign it and attach the signature) with that of a
// bare loop of tar, zstd and one sha256 over the same tree, in one process and in
// turn. x-bare-cpu is the ratio that the project holds itself to (at most 1.5);
// x-bare-cpu-upload is the same with the layer cut into a file first and then
// put, as over HTTP.
func BenchmarkPackage(b *testing.B) {
	const mib = 128
	src := b.TempDir()
	layertest.MixedTree(b, src, mib)
	key, err := dsse.GenerateKey()
	require.NoError(b, err)
	var direct, upload, bare time.Duration
	b.SetBytes(mib << 20)
	for b.Loop() {
		work := b.TempDir()
		bare += cpuOf(b, func() error { return layertest.BareArchive(src, filepath.Join(work, "bare")) })
		direct += cpuOf(b, func() error { return packageTree(b, src, filepath.Join(work, "direct"), key, false) })
		upload += cpuOf(b, func() error { return packageTree(b, src, filepath.Join(work, "upload"), key, true) })
		require.NoError(b, os.RemoveAll(work))
	}
	b.ReportMetric(direct.Seconds()/bare.Seconds(), "x-bare-cpu")
	b.ReportMetric(upload.Seconds()/bare.Seconds(), "x-bare-cpu-upload")
	b.Logf("%d runs of %d MiB, CPU seconds: packaging %.2f, with upload %.2f, bare tar+zstd+sha256 %.2f: ratios %.2f and %.2f", b.N, mib,
		direct.Seconds(), upload.Seconds(), bare.Seconds(), direct.Seconds()/bare.Seconds(), upload.Seconds()/bare.Seconds())
}

// cpuOf is the user and system time that f takes, the collector's share with it.
func cpuOf(b *testing.B, f func() error) time.Duration {
	b.Helper()
	used := func() time.Duration {
		var r syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	runtime.GC()
	before := used()
	require.NoError(b, f())
	return used() - before
}

func packageTree(b *testing.B, src, work string, key crypto.Signer, upload bool) error {
	b.Helper()
	s, err := layout.Open(filepath.Join(work, "store"))
	if err != nil {
		return err
	}
	l, err := cutInto(b, s, src, upload)
	if err != nil {
		return err
	}
	img, err := s.Assemble(b.Context(), layout.Spec{
		Base: layout.BaseNone, Command: []string{"/app/train"},
		Layers: []layout.Layer{{Class: "source", MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes}},
	})
	if err != nil {
		return err
	}
	bundle, err := sign.Sign(key, img.Digest)
	if err != nil {
		return err
	}
	_, err = s.Attach(b.Context(), img.Digest, sign.PredicateType, bundle)
	return err
}

// cutInto cuts straight into the store, or with upload into a file that is then
// put, which reads, hashes, writes and syncs the layer once more.
func cutInto(b *testing.B, s *layout.Store, src string, upload bool) (l layer.Layer, err error) {
	b.Helper()
	o := layer.Options{Prefix: "app"}
	if !upload {
		in, err := s.Ingest(b.Context())
		if err != nil {
			return l, err
		}
		defer in.Close() //nolint:errcheck // abandons what was not committed
		if l, err = layer.Cut(b.Context(), in, src, o); err != nil {
			return l, err
		}
		return l, in.Commit(b.Context(), l.Digest, l.SizeBytes)
	}
	f, err := os.CreateTemp(b.TempDir(), "layer")
	if err != nil {
		return l, err
	}
	defer f.Close() //nolint:errcheck // a file of the benchmark
	if l, err = layer.Cut(b.Context(), f, src, o); err != nil {
		return l, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return l, err
	}
	return l, s.Put(b.Context(), l.Digest, l.SizeBytes, f)
}
