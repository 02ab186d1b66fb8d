package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
)

// Rules is the version of the rules that Check applies. It rises whenever a layer
// that passed could fail.
const Rules = 1

// Check reads a layer to its end and refuses it unless it is the one announced
// and is in the form that Cut writes. It trusts nobody: size, digest, diff id
// and every entry are looked at, and it reads at most want.SizeBytes + 1 bytes of
// r and decompresses at most Limits.RawBytes. RawBytes and Entries of want are
// compared unless they are 0. A refusal is an *Error.
func Check(ctx context.Context, r io.Reader, want Layer, lim Limits) error {
	lim = lim.WithDefaults()
	if want.SizeBytes <= 0 || want.Digest == "" || want.DiffID == "" {
		return &Error{Code: CodeOption, Rule: "a layer names its digest, diff id and size", Help: "send all three"}
	}
	packed := &meterReader{r: io.LimitReader(r, want.SizeBytes+1), h: sha256.New(), ctx: ctx.Err}
	z, err := Decompress(want.MediaType, packed)
	if err != nil {
		return readError(ctx, err)
	}
	defer z.Close() //nolint:errcheck // nothing is written
	raw := &meterReader{r: z, h: sha256.New(), ctx: ctx.Err, max: lim.RawBytes}
	entries, err := checkTar(raw, lim)
	if err != nil {
		return readError(ctx, err)
	}
	if n, err := io.Copy(io.Discard, raw); err != nil || n > 0 {
		return readError(ctx, errors.Join(malformed("", "nothing follows the end of a tar"), err))
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return readError(ctx, err)
	}
	return compare(want, Layer{
		Digest: packed.digest(), DiffID: raw.digest(), SizeBytes: packed.n, RawBytes: raw.n, Entries: entries,
	})
}

func compare(want, got Layer) error {
	differs := func(what, w, g string) error {
		return &Error{Code: CodeDigest, Path: want.Digest, Rule: fmt.Sprintf("the layer's %s is %s, not %s as announced", what, g, w), Help: "cut and send the layer again"}
	}
	num := func(n int64) string { return fmt.Sprintf("%d", n) }
	switch {
	case got.SizeBytes > want.SizeBytes:
		return differs("size", num(want.SizeBytes), "larger")
	case got.SizeBytes != want.SizeBytes:
		return differs("size", num(want.SizeBytes), num(got.SizeBytes))
	case got.Digest != want.Digest:
		return differs("digest", want.Digest, got.Digest)
	case got.DiffID != want.DiffID:
		return differs("diff id", want.DiffID, got.DiffID)
	case want.RawBytes != 0 && got.RawBytes != want.RawBytes:
		return differs("uncompressed size", num(want.RawBytes), num(got.RawBytes))
	case want.Entries != 0 && got.Entries != want.Entries:
		return differs("number of entries", num(int64(want.Entries)), num(int64(got.Entries)))
	}
	return nil
}

// checkTar reads a tar to its end mark and returns the number of entries.
func checkTar(r io.Reader, lim Limits) (int, error) {
	tr := tar.NewReader(r)
	c := checker{lim: lim}
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("read entry %d: %w", n+1, err)
		}
		if n >= lim.Entries {
			return n, &Error{Code: CodeLimit, Path: quote(h.Name), Rule: fmt.Sprintf("at most %d entries in a layer", lim.Entries), Help: "split the layer"}
		}
		if err := c.entry(h, tr); err != nil {
			return n, err
		}
	}
}

// checker holds what the order of entries needs: Cut writes a folder before
// what is in it and siblings by name, so the open folders form a stack.
type checker struct {
	lim     Limits
	last    string
	folders []string
}

func malformed(name, rule string) *Error {
	e := &Error{Code: CodeMalformed, Rule: rule, Help: "cut the layer with this project's own cutter"}
	if name != "" {
		e.Path = quote(name)
	}
	return e
}

func (c *checker) entry(h *tar.Header, body io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	if e := checkName(name, c.lim); e != nil {
		return e
	}
	dir := h.Typeflag == tar.TypeDir
	if dir != strings.HasSuffix(h.Name, "/") {
		return malformed(h.Name, "only a folder's name ends in a slash")
	}
	if c.last != "" && compareNames(c.last, name) >= 0 {
		return malformed(name, "entries are sorted and each name is there once")
	}
	c.last = name
	for len(c.folders) > 0 && c.folders[len(c.folders)-1] != path.Dir(name) {
		c.folders = c.folders[:len(c.folders)-1]
	}
	if len(c.folders) == 0 && path.Dir(name) != "." {
		return malformed(name, "its folder comes before it")
	}
	if dir {
		c.folders = append(c.folders, name)
	}
	if rule := secretName(name, dir); rule != "" {
		return secretError(name, rule)
	}
	if err := checkHeader(name, h, c.lim); err != nil {
		return err
	}
	return checkBody(name, h, body)
}

// checkHeader compares everything in a header with the normal form.
func checkHeader(name string, h *tar.Header, lim Limits) error {
	switch h.Typeflag {
	case tar.TypeDir:
		if h.Mode != modeDir || h.Size != 0 || h.Linkname != "" {
			return malformed(name, "a folder has mode 0755 and no content")
		}
	case tar.TypeSymlink:
		if h.Mode != modeLink || h.Size != 0 {
			return malformed(name, "a link has mode 0777 and no content")
		}
		if e := checkLink(name, h.Linkname, lim); e != nil {
			return e
		}
	case tar.TypeReg:
		if (h.Mode != modeFile && h.Mode != modeProgram) || h.Linkname != "" {
			return malformed(name, "a file has mode 0644 or 0755")
		}
		if h.Size > lim.FileBytes {
			return &Error{Code: CodeLimit, Path: quote(name), Rule: fmt.Sprintf("a file has at most %d bytes", lim.FileBytes), Help: "split it"}
		}
	default:
		return &Error{Code: CodeType, Path: quote(name), Rule: fmt.Sprintf("a layer holds files, folders and symbolic links, not type %q", h.Typeflag), Help: "cut the layer with this project's own cutter"}
	}
	if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.Devmajor != 0 || h.Devminor != 0 {
		return malformed(name, "an entry belongs to 0:0 without names")
	}
	if !h.ModTime.Equal(epoch()) || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
		return malformed(name, "an entry's time is the epoch")
	}
	if h.Format&(tar.FormatUSTAR|tar.FormatPAX) == 0 {
		return malformed(name, "a tar is in USTAR or PAX form")
	}
	for key := range h.PAXRecords {
		if key != "path" && key != "linkpath" && key != "size" {
			return malformed(name, "extended headers hold long names and sizes only, no "+quote(key))
		}
	}
	return nil
}

// checkBody reads a file's content and refuses private keys.
func checkBody(name string, h *tar.Header, body io.Reader) error {
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	head := make([]byte, min(h.Size, secretHead))
	if _, err := io.ReadFull(body, head); err != nil {
		return fmt.Errorf("read %s: %w", quote(name), err)
	}
	if (mayHoldKey(name) || strings.HasPrefix(string(head[:min(len(head), 11)]), "-----BEGIN ")) && holdsKey(head) {
		return secretError(name, "a private key does not belong in an image")
	}
	return nil
}

// compareNames orders paths as Cut writes them: element by element, that is,
// with the slash before every other byte.
func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
			continue
		case x == '/':
			return -1
		case y == '/':
			return 1
		case x < y:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// readError turns what a decompressor or tar reader says into a refusal.
func readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("check layer: %w", context.Cause(ctx))
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeMalformed, Rule: "a layer is a tar in the compression that its media type says", Help: "cut and send the layer again", Err: err}
}

// meterReader counts, hashes and bounds what is read through it.
type meterReader struct {
	r   io.Reader
	h   hash.Hash
	ctx func() error
	n   int64
	max int64 // 0: unbounded
}

// Read reads on until the bound is passed or the context is done.
func (m *meterReader) Read(p []byte) (int, error) {
	if err := m.ctx(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.h.Write(p[:n])
	m.n += int64(n)
	if m.max > 0 && m.n > m.max {
		return n, &Error{Code: CodeLimit, Rule: fmt.Sprintf("an uncompressed layer has at most %d bytes", m.max), Help: "split the layer"}
	}
	return n, err //nolint:wrapcheck // an io.Reader hands its reader's error on, io.EOF above all
}

func (m *meterReader) digest() string { return "sha256:" + hex.EncodeToString(m.h.Sum(nil)) }
