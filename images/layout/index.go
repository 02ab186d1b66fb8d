package layout

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxDocument bounds a manifest, a config or a bundle.
	maxDocument = 4 << 20
	// maxIndex bounds index.json; an image takes some 400 bytes of it.
	maxIndex = 64 << 20
	lockFile = "index.lock"
)

// initIndex writes oci-layout and index.json where they are missing and refuses
// a folder that holds a layout of another version.
func (s *Store) initIndex() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	err = checkLayoutFile(os.DirFS(s.dir))
	if errors.Is(err, fs.ErrNotExist) {
		err = s.replace(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(s.dir, ocispec.ImageIndexFile)); errors.Is(err, fs.ErrNotExist) {
		return s.replace(ocispec.ImageIndexFile, newIndex(nil))
	}
	_, err = readIndex(os.DirFS(s.dir))
	return err
}

func newIndex(ms []ocispec.Descriptor) ocispec.Index {
	if ms == nil {
		ms = []ocispec.Descriptor{} // [] and not null: other tools refuse null
	}
	return ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: ms}
}

// addToIndex lists a manifest in index.json unless it is there.
func (s *Store) addToIndex(d ocispec.Descriptor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	idx, err := readIndex(os.DirFS(s.dir))
	if err != nil {
		return err
	}
	at, found := slices.BinarySearchFunc(idx.Manifests, d, func(a, b ocispec.Descriptor) int {
		return strings.Compare(a.Digest.String(), b.Digest.String())
	})
	if found || slices.ContainsFunc(idx.Manifests, func(m ocispec.Descriptor) bool { return m.Digest == d.Digest }) {
		return nil
	}
	return s.replace(ocispec.ImageIndexFile, newIndex(slices.Insert(idx.Manifests, at, d)))
}

// index reads index.json. A writer replaces it whole, so no lock is needed.
func (s *Store) index() (ocispec.Index, error) { return readIndex(os.DirFS(s.dir)) }

// lock keeps other processes from changing index.json; mu keeps our own from it.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock index: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("lock index: %w", err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// replace writes a JSON file.
func (s *Store) replace(name string, v any) error {
	b, err := stdjson.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return s.writeFile(name, b)
}

// writeFile writes a file of the store and renames it into place, synced.
func (s *Store) writeFile(name string, b []byte) error {
	f, err := os.CreateTemp(s.dir, ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	mode := os.FileMode(0o600)
	if s.shared {
		mode = 0o644
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, name))
	}
	if err == nil {
		err = syncDir(filepath.Dir(filepath.Join(s.dir, name)))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // our own folder
	if err != nil {
		return err //nolint:wrapcheck // it names operation and path
	}
	return errors.Join(d.Sync(), d.Close())
}

func readIndex(fsys fs.FS) (ocispec.Index, error) {
	var idx ocispec.Index
	b, err := readBounded(fsys, ocispec.ImageIndexFile, maxIndex)
	if err != nil {
		return idx, err
	}
	if err := json.Unmarshal(b, &idx, json.RejectUnknownMembers(true)); err != nil {
		return idx, fmt.Errorf("%w: index.json: %w", ErrMalformed, err)
	}
	if idx.SchemaVersion != 2 {
		return idx, fmt.Errorf("%w: index.json: schema version %d", ErrMalformed, idx.SchemaVersion)
	}
	return idx, nil
}

func checkLayoutFile(fsys fs.FS) error {
	b, err := readBounded(fsys, ocispec.ImageLayoutFile, 1<<10)
	if err != nil {
		return err
	}
	var l ocispec.ImageLayout
	if err := json.Unmarshal(b, &l, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: oci-layout: %w", ErrMalformed, err)
	}
	if l.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%w: oci-layout: version %q", ErrUnsupported, l.Version)
	}
	return nil
}

func readBounded(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names operation and path
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrMalformed, name, limit)
	}
	return b, nil
}
