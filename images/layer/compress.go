package layer

import (
	"bufio"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// encodeWindow is an input of every zstd digest: never change it without a
	// note, since equal trees would then have other digests.
	encodeWindow = 4 << 20
	// decodeWindow bounds the memory that a foreign zstd stream may ask for.
	decodeWindow = 128 << 20
	gzipLevel    = 5
	copyBuffer   = 1 << 20
)

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// compressor packs what is written to it into w. Its output depends on its
// input alone, not on timing or the number of CPUs.
func compressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case Zstd, "":
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(encodeWindow), zstd.WithEncoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return z, nil
	case Gzip:
		z, err := gzip.NewWriterLevel(w, gzipLevel)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return z, nil
	case Plain:
		return nopCloser{w}, nil
	}
	_, err := c.mediaType()
	return nil, err
}

// Decompress unpacks a layer's bytes as its media type says. Types of Docker's
// older images are known too. A stream that is not what its type says, or a
// zstd window of more than 128 MiB, is an error while reading. The caller bounds
// how much it reads.
func Decompress(mediaType string, r io.Reader) (io.ReadCloser, error) {
	switch mediaType {
	case ocispec.MediaTypeImageLayerZstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(decodeWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	case ocispec.MediaTypeImageLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip":
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return z, nil
	case ocispec.MediaTypeImageLayer, "application/vnd.docker.image.rootfs.diff.tar":
		return io.NopCloser(r), nil
	}
	return nil, &Error{
		Code: CodeOption, Rule: fmt.Sprintf("media type %q is not a layer that can be read", mediaType),
		Help: "use a tar layer, plain, gzip or zstd",
	}
}
