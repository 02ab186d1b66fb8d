package unpack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/images/layer"
)

var (
	// ErrTampered says that bytes are not those that the manifest names.
	ErrTampered = errors.New("image was tampered with")
	// ErrMalformed says that a document or layer cannot be read although its
	// digest is right.
	ErrMalformed = errors.New("malformed image")
	// ErrRefused says that a layer holds something that is not unpacked.
	ErrRefused = errors.New("refused in an image")
	// ErrLimit says that an image is larger than allowed.
	ErrLimit = errors.New("image exceeds a limit")
)

// TamperedError says which digest or size differs. It is an ErrTampered.
type TamperedError struct {
	What string // "config", "layer 2", "diff id of layer 2"
	Want string
	Got  string
}

// Error names what differs.
func (e *TamperedError) Error() string {
	return fmt.Sprintf("%s: %s is %s, not %s", ErrTampered, e.What, e.Got, e.Want)
}

// Is makes every TamperedError an ErrTampered.
func (e *TamperedError) Is(target error) bool { return target == ErrTampered }

// Limits bound an image over all its layers. A zero field takes its default.
type Limits struct {
	Layers    int   // default 127
	Entries   int   // default 2,000,000
	BlobBytes int64 // one packed layer; default 256 GiB
	RawBytes  int64 // all uncompressed tars; default 512 GiB
	FileBytes int64 // one file; default 128 GiB
	PathBytes int   // one path or link target; default 4,096
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		v *int64
		d int64
	}{{&l.BlobBytes, 256 << 30}, {&l.RawBytes, 512 << 30}, {&l.FileBytes, 128 << 30}} {
		if *f.v <= 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct {
		v *int
		d int
	}{{&l.Layers, 127}, {&l.Entries, 2_000_000}, {&l.PathBytes, 4096}} {
		if *f.v <= 0 {
			*f.v = f.d
		}
	}
	return l
}

// Report says what was unpacked.
type Report struct {
	Layers    int
	Entries   int
	RawBytes  int64
	Whiteouts int
	// Dropped counts setuid, setgid and sticky bits and extended attributes that
	// layers asked for and nobody got.
	Dropped int
}

// maxDocument bounds manifest and config.
const maxDocument = 4 << 20

// Unpack extracts the image of a verified manifest into dir, which is made if it
// is not there and must be empty. open is called once for each layer, in order.
// After an error the caller removes dir.
func Unpack(ctx context.Context, open func(digest string) (io.ReadCloser, error), manifest, config []byte, dir string, lim Limits) (Report, error) {
	lim = lim.withDefaults()
	m, diffIDs, err := documents(manifest, config, lim)
	if err != nil {
		return Report{}, err
	}
	root, err := emptyRoot(dir)
	if err != nil {
		return Report{}, fmt.Errorf("unpack: %w", err)
	}
	defer root.Close() //nolint:errcheck // a folder's descriptor
	u := unpacker{lim: lim, root: root, open: open, buf: make([]byte, 1<<20)}
	for i, l := range m.Layers {
		if err := u.layer(ctx, fmt.Sprintf("layer %d", i+1), l, diffIDs[i]); err != nil {
			return u.report, err
		}
		u.report.Layers++
	}
	return u.report, nil
}

// documents checks the config against the manifest and reads both.
func documents(manifest, config []byte, lim Limits) (m ocispec.Manifest, diffIDs []string, err error) {
	if len(manifest) > maxDocument || len(config) > maxDocument {
		return m, nil, fmt.Errorf("%w: manifest or config of more than %d bytes", ErrLimit, maxDocument)
	}
	if err := json.Unmarshal(manifest, &m, json.RejectUnknownMembers(true)); err != nil {
		return m, nil, fmt.Errorf("%w: manifest: %w", ErrMalformed, err)
	}
	if got := sum(config); got != m.Config.Digest.String() || int64(len(config)) != m.Config.Size {
		return m, nil, &TamperedError{What: "config", Want: m.Config.Digest.String(), Got: got}
	}
	var c struct {
		RootFS struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return m, nil, fmt.Errorf("%w: config: %w", ErrMalformed, err)
	}
	switch {
	case m.SchemaVersion != 2 || c.RootFS.Type != "layers":
		return m, nil, fmt.Errorf("%w: schema version %d, root file system %q", ErrMalformed, m.SchemaVersion, c.RootFS.Type)
	case len(m.Layers) == 0 || len(m.Layers) != len(c.RootFS.DiffIDs):
		return m, nil, fmt.Errorf("%w: %d layers and %d diff ids", ErrMalformed, len(m.Layers), len(c.RootFS.DiffIDs))
	case len(m.Layers) > lim.Layers:
		return m, nil, fmt.Errorf("%w: %d layers, at most %d", ErrLimit, len(m.Layers), lim.Layers)
	}
	for i, l := range m.Layers {
		if !isDigest(l.Digest.String()) || !isDigest(c.RootFS.DiffIDs[i]) || l.Size <= 0 {
			return m, nil, fmt.Errorf("%w: layer %d has no sha256 digest, diff id or size", ErrMalformed, i+1)
		}
		if l.Size > lim.BlobBytes {
			return m, nil, fmt.Errorf("%w: layer %d has %d bytes, at most %d", ErrLimit, i+1, l.Size, lim.BlobBytes)
		}
	}
	return m, c.RootFS.DiffIDs, nil
}

func isDigest(s string) bool {
	h, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(h) == 64 && strings.Trim(h, "0123456789abcdef") == ""
}

func emptyRoot(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err //nolint:wrapcheck // Unpack wraps it
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err //nolint:wrapcheck // Unpack wraps it
	}
	d, err := root.Open(".")
	if err == nil {
		_, err = d.Readdirnames(1)
		_ = d.Close() // read only
	}
	if errors.Is(err, io.EOF) {
		return root, nil
	}
	_ = root.Close() // nothing was done
	if err == nil {
		err = fmt.Errorf("%w: %s is not empty", ErrRefused, dir)
	}
	return nil, err
}

type unpacker struct {
	lim    Limits
	root   *os.Root
	open   func(string) (io.ReadCloser, error)
	report Report
	buf    []byte
}

// layer reads one layer to its end, extracting as it goes, and compares what it
// read with what the manifest and the config name.
func (u *unpacker) layer(ctx context.Context, what string, d ocispec.Descriptor, diffID string) error {
	r, err := u.open(d.Digest.String())
	if err != nil {
		return fmt.Errorf("open %s: %w", what, err)
	}
	defer r.Close() //nolint:errcheck // read only
	packed := &meter{r: io.LimitReader(r, d.Size+1), h: sha256.New(), done: ctx.Err, max: -1}
	raw, extractErr := u.stream(ctx, packed, d.MediaType)
	if ctx.Err() != nil {
		return fmt.Errorf("unpack %s: %w", what, context.Cause(ctx))
	}
	// What cannot be read may have been changed: the digest tells.
	if _, err := io.CopyBuffer(io.Discard, onlyReader{packed}, u.buf); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	if packed.n != d.Size {
		return &TamperedError{What: what + " size", Want: fmt.Sprint(d.Size), Got: sizeWord(packed.n, d.Size)}
	}
	if got := packed.sum(); got != d.Digest.String() {
		return &TamperedError{What: what, Want: d.Digest.String(), Got: got}
	}
	if extractErr != nil {
		return fmt.Errorf("unpack %s: %w", what, extractErr)
	}
	if got := raw.sum(); got != diffID {
		return &TamperedError{What: "diff id of " + what, Want: diffID, Got: got}
	}
	return nil
}

func sizeWord(got, want int64) string {
	if got > want {
		return "larger"
	}
	return fmt.Sprint(got)
}

// stream decompresses and extracts what packed yields and reads the
// decompressed stream to its end.
func (u *unpacker) stream(ctx context.Context, packed io.Reader, mediaType string) (*meter, error) {
	z, err := layer.Decompress(mediaType, packed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	defer z.Close() //nolint:errcheck // nothing is written
	raw := &meter{r: z, h: sha256.New(), done: ctx.Err, max: u.lim.RawBytes - u.report.RawBytes}
	x := extractor{u: u, seen: map[string]struct{}{}}
	if err := x.run(raw); err != nil {
		return raw, err
	}
	// Tars may end in more zero blocks than a reader looks at.
	_, err = io.CopyBuffer(io.Discard, onlyReader{raw}, u.buf)
	u.report.RawBytes += raw.n // the next layer gets what is left of the limit
	if err != nil {
		return raw, readError(err)
	}
	return raw, nil
}

// readError tells a limit of ours from a stream that cannot be read.
func readError(err error) error {
	if errors.Is(err, ErrLimit) || errors.Is(err, ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

// onlyReader hides every method but Read, so that copies use our buffer.
type onlyReader struct{ io.Reader }

// meter counts, hashes and bounds what is read through it.
type meter struct {
	r    io.Reader
	h    hash.Hash
	done func() error
	n    int64
	max  int64 // negative: unbounded
}

// Read reads on until the bound is passed or the context is done.
func (m *meter) Read(p []byte) (int, error) {
	if err := m.done(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.h.Write(p[:n])
	m.n += int64(n)
	if m.max >= 0 && m.n > m.max {
		return n, fmt.Errorf("%w: more than %d bytes uncompressed", ErrLimit, m.max)
	}
	return n, err //nolint:wrapcheck // an io.Reader hands its reader's error on, io.EOF above all
}

func (m *meter) sum() string { return "sha256:" + hex.EncodeToString(m.h.Sum(nil)) }
