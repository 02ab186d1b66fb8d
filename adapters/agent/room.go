package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/disk"
)

// CodeDiskFull is the code of a start that the site has no room for.
const CodeDiskFull = "site_disk_full"

// shelf bounds what the site keeps of images. Blobs are written under a read
// lock, with their size reserved first, and removed under a write lock.
type shelf struct {
	mu       sync.RWMutex
	count    sync.Mutex
	reserved int64 // of blobs that are being written
}

// reserve makes room for a blob, removes images that no attempt needs if it
// must, the least recently used first, and returns what gives the reservation
// back. It refuses when that is not enough: what runs keeps what it has.
func (a *Agent) reserve(size int64) (done func(), err error) {
	dir := a.blobDir()
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	a.shelf.count.Lock()
	defer a.shelf.count.Unlock()
	if err := a.fits(dir, size); err != nil {
		if err := a.evict(dir, size); err != nil {
			return nil, err
		}
	}
	a.shelf.reserved += size
	return func() {
		a.shelf.count.Lock()
		defer a.shelf.count.Unlock()
		a.shelf.reserved -= size
	}, nil
}

func (a *Agent) blobDir() string { return filepath.Join(a.cfg.Dir, "images", "blobs", "sha256") }

// fits says whether so many more bytes are within the bound and on the disk.
// Callers hold the shelf.
func (a *Agent) fits(dir string, size int64) error {
	if err := disk.Room(dir, size+a.shelf.reserved); err != nil {
		return full(size, err)
	}
	if a.cfg.ImageBytes <= 0 {
		return nil
	}
	blobs, err := listBlobs(dir)
	if err != nil {
		return err
	}
	if total(blobs)+a.shelf.reserved+size > a.cfg.ImageBytes {
		return full(size, fmt.Errorf("%d bytes of images of at most %d", total(blobs), a.cfg.ImageBytes))
	}
	return nil
}

// evict removes blobs that no attempt needs until size bytes fit.
func (a *Agent) evict(dir string, size int64) error {
	used, err := a.neededBlobs()
	if err != nil {
		return err
	}
	blobs, err := listBlobs(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(blobs, func(x, y blobFile) int { return x.used.Compare(y.used) })
	for _, b := range blobs {
		if used[b.name] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, b.name)); err != nil {
			return fmt.Errorf("remove an image that nothing needs: %w", err)
		}
		if a.fits(dir, size) == nil {
			return nil
		}
	}
	return a.fits(dir, size)
}

// neededBlobs are the names of blobs of attempts that have not ended.
func (a *Agent) neededBlobs() (map[string]bool, error) {
	a.mu.Lock()
	ids := make([]broker.AttemptID, 0, len(a.entries))
	for id, e := range a.entries {
		if r, _ := e.snapshot(); r.State != stateEnded && r.State != stateSealed {
			ids = append(ids, id)
		}
	}
	a.mu.Unlock()
	used := map[string]bool{}
	for _, id := range ids {
		raw, err := os.ReadFile(a.orderPath(id))
		if err != nil {
			return nil, fmt.Errorf("read the kept order: %w", err)
		}
		o, err := order.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("read the kept order: %w", err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(o.Evidence.Manifest, &m); err != nil {
			return nil, fmt.Errorf("read the kept manifest: %w", err)
		}
		used[o.Order.Image.Hex()] = true
		for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
			used[d.Digest.Encoded()] = true
		}
	}
	return used, nil
}

type blobFile struct {
	name string
	size int64
	used time.Time // when an attempt last needed it
}

// listBlobs lists what is whole; what is being written is reserved.
func listBlobs(dir string) ([]blobFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []blobFile
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		out = append(out, blobFile{name: e.Name(), size: fi.Size(), used: fi.ModTime()})
	}
	return out, nil
}

func total(blobs []blobFile) int64 {
	var n int64
	for _, b := range blobs {
		n += b.size
	}
	return n
}

// stocked says of a blob whether it is there, and that it was needed now.
func (a *Agent) stocked(path string, size int64) bool {
	a.shelf.mu.RLock()
	defer a.shelf.mu.RUnlock()
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != size {
		return false
	}
	now := a.cfg.Now()
	_ = os.Chtimes(path, now, now) // at worst it is removed earlier
	return true
}

func full(size int64, err error) *broker.Error {
	return &broker.Error{
		Kind: broker.KindForbidden, Code: CodeDiskFull, Message: "the site has no room for the job's image", Value: fmt.Sprintf("%d bytes", size),
		Rule: "a site keeps as much of images as its operator allows, and leaves room for what runs", Help: "submit it again when other jobs have ended, or with a smaller image",
		Who: "the site operator", Err: err,
	}
}

// ImageBytes is how much the site keeps of images now.
func (a *Agent) ImageBytes() (int64, error) {
	blobs, err := listBlobs(a.blobDir())
	return total(blobs), err
}
