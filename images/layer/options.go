package layer

import (
	"strconv"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression names how a layer's bytes are packed.
type Compression string

// The compressions.
const (
	Zstd  Compression = "zstd" // the default
	Gzip  Compression = "gzip"
	Plain Compression = "none"
)

// Options say how Cut works; the zero value is usable.
type Options struct {
	// Prefix is the folder of the image that the tree goes to, "" for its root.
	Prefix string
	// Compression is Zstd when empty.
	Compression Compression
	// Ignore holds patterns applied before those of .valicoignore.
	Ignore []string
	Limits Limits
}

// Limits bound a layer. A zero field takes its default.
type Limits struct {
	Entries   int   // files, folders and links; default 500,000
	RawBytes  int64 // the uncompressed tar; default 256 GiB
	FileBytes int64 // one file; default 128 GiB
	PathBytes int   // one path in the image; default 1,024
	Depth     int   // elements of one path; default 64
}

// WithDefaults fills in the fields that are zero.
func (l Limits) WithDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	entries, path, depth := int64(l.Entries), int64(l.PathBytes), int64(l.Depth)
	def(&entries, 500_000)
	def(&l.RawBytes, 256<<30)
	def(&l.FileBytes, 128<<30)
	def(&path, 1024)
	def(&depth, 64)
	l.Entries, l.PathBytes, l.Depth = int(entries), int(path), int(depth)
	return l
}

// Layer describes a cut layer.
type Layer struct {
	MediaType string
	Digest    string // of the bytes written, "sha256:<hex>"
	DiffID    string // of the uncompressed tar
	SizeBytes int64  // of the bytes written
	RawBytes  int64  // of the uncompressed tar; 0 where unknown
	Entries   int    // of the tar, the folders of the prefix with them; 0 where unknown
}

// mediaType is the only table from compression to media type.
func (c Compression) mediaType() (string, error) {
	switch c {
	case Zstd, "":
		return ocispec.MediaTypeImageLayerZstd, nil
	case Gzip:
		return ocispec.MediaTypeImageLayerGzip, nil
	case Plain:
		return ocispec.MediaTypeImageLayer, nil
	}
	return "", &Error{Code: CodeOption, Rule: "compression is zstd, gzip or none, not " + strconv.Quote(string(c)), Help: "choose one of them"}
}
