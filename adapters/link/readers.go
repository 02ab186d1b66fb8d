package link

import (
	"io"
	"sync"
	"time"

	"github.com/valico-hpc/valico/broker"
)

const (
	maxReaders    = 16
	readerPatient = 30 * time.Second
)

// reading is a place in a released file.
type reading struct {
	attempt broker.AttemptID
	path    string
	offset  int64
}

// readers keeps files open between the parts of them that are asked for. It
// saves reading them again and is never needed: a part that was asked for twice
// is found by opening anew.
type readers struct {
	now  func() time.Time
	mu   sync.Mutex
	open map[reading]openFile
}

type openFile struct {
	f    io.ReadCloser
	of   broker.OutputFile
	used time.Time
}

func newReaders(now func() time.Time) *readers {
	return &readers{now: now, open: map[reading]openFile{}}
}

// take gives a file that stands at a place to its one caller; nil if none does.
func (r *readers) take(p reading) (io.ReadCloser, broker.OutputFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.open[p]
	delete(r.open, p)
	if !ok || r.stale(o) {
		if ok {
			_ = o.f.Close() // only read from
		}
		return nil, broker.OutputFile{}
	}
	return o.f, o.of
}

// put keeps a file for whoever asks for its next part.
func (r *readers) put(p reading, f io.ReadCloser, of broker.OutputFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.open[p]; twice || len(r.open) >= maxReaders {
		_ = f.Close() // only read from
		return
	}
	r.open[p] = openFile{f: f, of: of, used: r.now()}
}

// stale says that a release may have been withdrawn since the file was opened.
func (r *readers) stale(o openFile) bool { return r.now().Sub(o.used) > readerPatient }

func (r *readers) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, o := range r.open {
		if r.stale(o) {
			_ = o.f.Close() // only read from
			delete(r.open, p)
		}
	}
}

func (r *readers) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, o := range r.open {
		_ = o.f.Close() // only read from
		delete(r.open, p)
	}
}
