package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
	"github.com/valico-hpc/valico/images/disk"
)

// startMargin is how long after an order's not_after its folder stays at least:
// so far may the clocks of agent and nodes be apart.
const startMargin = time.Hour

// maxKeptNames is how many names are looked at in the folder of one attempt: its
// account can make as many there as it likes.
const maxKeptNames = 10_000

// yard knows what ended attempts take of the disk: folder and kept order. mu is
// held while anything of them is measured or removed.
type yard struct {
	mu       sync.Mutex
	measured bool
	all      map[broker.AttemptID]leftover
}

// leftover is what is kept of one ended attempt. Of a folder that no journal
// record explains only the size is known: it counts, and nobody removes it.
type leftover struct {
	size     int64
	ranks    int
	sealedAt time.Time
	notAfter time.Time
	final    bool // everything it said was acknowledged
}

func newLeftover(size int64, r record) leftover {
	return leftover{
		size: size, ranks: max(1, r.Limits.Nodes), sealedAt: r.SealedAt, notAfter: r.NotAfter, final: r.final() && r.Digest != "",
	}
}

// mayGo says whether a leftover is needed by nobody: sealed, said, and of an order
// that no launcher starts any more.
func (l leftover) mayGo(now time.Time) bool { return l.final && now.Sub(l.notAfter) > startMargin }

func (y *yard) total() int64 {
	var n int64
	for _, l := range y.all {
		n += l.size
	}
	return n
}

// sweepEvery is how often what is old is looked for.
const sweepEvery = 10 * time.Minute

// sweepOld removes what was kept for its time. Of ended attempts there may be many:
// looking through them holds no pass up.
func (a *Agent) sweepOld(ctx context.Context) {
	now := a.now()
	if now.Sub(a.swept) < sweepEvery {
		return
	}
	a.swept = now
	a.sweepCkpts(ctx)
	a.steps.Go(func() { a.sweepAttempts(ctx) })
}

// sweepAttempts measures what is kept of ended attempts, removes what was kept for
// Config.AttemptKeep, and then the oldest beyond Config.AttemptBytes.
func (a *Agent) sweepAttempts(ctx context.Context) {
	a.yard.mu.Lock()
	defer a.yard.mu.Unlock()
	if err := a.measure(ctx); err != nil {
		a.cfg.Log.WarnContext(ctx, "look for what ended attempts left", "error", err)
		return
	}
	now := a.now()
	for id, l := range a.yard.all {
		if ctx.Err() == nil && l.mayGo(now) && now.Sub(l.sealedAt) >= a.cfg.AttemptKeep {
			a.letGo(ctx, id)
		}
	}
	a.evictAttempts(ctx, 0)
}

// makeWay lets a start go on that keeps size bytes, if what ended attempts left is
// within the bound then. It removes the oldest that may go before it refuses.
func (a *Agent) makeWay(ctx context.Context, size int64) error {
	a.yard.mu.Lock()
	defer a.yard.mu.Unlock()
	if !a.yard.measured {
		if err := a.measure(ctx); err != nil {
			return err
		}
	}
	a.evictAttempts(ctx, size)
	if err := disk.Room(a.cfg.Dir, size); err != nil {
		return crowded(size, err)
	}
	if n := a.yard.total(); n+size > a.cfg.AttemptBytes {
		return crowded(size, fmt.Errorf("%d bytes of ended attempts of at most %d, none of which may go yet", n, a.cfg.AttemptBytes))
	}
	return nil
}

// evictAttempts removes the oldest leftovers that may go until size more bytes
// fit. Callers hold the yard.
func (a *Agent) evictAttempts(ctx context.Context, size int64) {
	over := a.yard.total() + size - a.cfg.AttemptBytes
	if over <= 0 {
		return
	}
	now := a.now()
	var goes []broker.AttemptID
	for id, l := range a.yard.all {
		if l = a.refreshed(id, l); l.mayGo(now) {
			goes = append(goes, id)
		}
	}
	slices.SortFunc(goes, func(x, y broker.AttemptID) int {
		return cmp.Or(a.yard.all[x].sealedAt.Compare(a.yard.all[y].sealedAt), cmp.Compare(x, y))
	})
	for _, id := range goes {
		if over <= 0 || ctx.Err() != nil {
			return
		}
		size := a.yard.all[id].size
		if a.letGo(ctx, id) {
			over -= size
		}
	}
}

// refreshed looks again at a leftover whose telemetry was still on its way.
func (a *Agent) refreshed(id broker.AttemptID, l leftover) leftover {
	if l.final || l.sealedAt.IsZero() {
		return l
	}
	if e, err := a.find(id); err == nil && e != nil {
		r, _ := e.snapshot()
		l = newLeftover(l.size, r)
		a.yard.all[id] = l
	}
	return l
}

// letGo removes what is kept of an attempt but its journal record. The folder is
// taken out of its place first and at once: a launcher finds order and start mark,
// or neither. Callers hold the yard.
func (a *Agent) letGo(ctx context.Context, id broker.AttemptID) bool {
	err := a.removeAttempt(id)
	if err != nil {
		a.cfg.Log.WarnContext(ctx, "remove what an ended attempt left", "attempt_id", id, "error", err)
		return false
	}
	delete(a.yard.all, id)
	a.cfg.Log.InfoContext(ctx, "removed what an ended attempt left", "attempt_id", id)
	return true
}

func (a *Agent) removeAttempt(id broker.AttemptID) error {
	dir := a.attemptDir(id)
	parent := filepath.Dir(dir)
	old := filepath.Join(parent, tempPrefix+string(id)) // a sweep of New removes it if we do not
	err := os.Rename(dir, old)
	if err == nil {
		err = syncDir(parent)
		a.cfg.Step("attempt_out_of_place")
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil // it never had one, or a crash came between here and the order
	}
	if err != nil {
		return fmt.Errorf("take the attempt's folder out of its place: %w", err)
	}
	if err := removeTree(old); err != nil {
		return err
	}
	a.cfg.Step("attempt_removed")
	if err := os.Remove(a.orderPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the kept order: %w", err)
	}
	a.cfg.Step("order_removed")
	return nil
}

// measure looks at all folders and kept orders. Callers hold the yard.
func (a *Agent) measure(ctx context.Context) error {
	ids, err := a.leftoverIDs()
	if err != nil {
		return err
	}
	all := make(map[broker.AttemptID]leftover, len(ids))
	for id := range ids {
		l, keep, err := a.measureOne(ctx, id)
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if keep {
			all[id] = l
		}
	}
	a.yard.all, a.yard.measured = all, true
	return nil
}

// leftoverIDs are the attempts that have a folder or a kept order.
func (a *Agent) leftoverIDs() (map[broker.AttemptID]bool, error) {
	ids := map[broker.AttemptID]bool{}
	for folder, suffix := range map[string]string{"attempts": "", "journal": orderSuffix} {
		d, err := os.ReadDir(filepath.Join(a.cfg.Dir, folder))
		if err != nil {
			return nil, fmt.Errorf("list what attempts left: %w", err)
		}
		for _, f := range d {
			if name, ok := strings.CutSuffix(f.Name(), suffix); ok && safeName(name) {
				ids[broker.AttemptID(name)] = true
			}
		}
	}
	return ids, nil
}

// measureOne says what an attempt keeps; false of one that has not ended. What a
// crash, or a fault, kept from being cleared up after it was sealed goes now.
func (a *Agent) measureOne(ctx context.Context, id broker.AttemptID) (leftover, bool, error) {
	if l, ok := a.yard.all[id]; ok && l.final {
		l.size = a.leftoverSize(id, l.ranks) // the account may have written there since
		return l, true, nil
	}
	e, err := a.find(id)
	if err != nil {
		return leftover{}, false, err
	}
	if e == nil {
		return leftover{size: a.leftoverSize(id, 1), ranks: 1}, true, nil
	}
	r, _ := e.snapshot()
	if r.State != stateSealed {
		return leftover{}, false, nil
	}
	a.clearFolder(ctx, r)
	l := newLeftover(0, r)
	l.size = a.leftoverSize(id, l.ranks)
	return l, true, nil
}

// countEnded counts what an attempt leaves that was sealed just now.
func (a *Agent) countEnded(e *entry) {
	r, _ := e.snapshot()
	a.yard.mu.Lock()
	defer a.yard.mu.Unlock()
	if a.yard.measured {
		l := newLeftover(0, r)
		l.size = a.leftoverSize(r.Attempt, l.ranks)
		a.yard.all[r.Attempt] = l
	}
}

// leftoverSize is what an attempt takes of the disk, and at most what it may
// rightly leave: the folder is its account's, who could put anything there and must
// not refuse everybody else's starts with it. What cannot be read, or goes
// meanwhile, counts as nothing.
func (a *Agent) leftoverSize(id broker.AttemptID, ranks int) int64 {
	var n int64
	most := int64(ranks)*spool.MaxSize + 1<<20
	if fi, err := os.Lstat(a.orderPath(id)); err == nil {
		n, most = taken(fi), most+2*taken(fi)
	}
	root, err := os.OpenRoot(a.attemptDir(id)) // leads nowhere else, whatever its owner links there
	if err != nil {
		return n
	}
	defer func() { _ = root.Close() }() // only read
	names := 0
	_ = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if names++; names > maxKeptNames {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		if fi, err := d.Info(); err == nil {
			n += taken(fi)
		}
		return nil
	})
	return min(n, most)
}

// taken is what a file takes of the disk: holes take nothing.
func taken(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return fi.Size()
}

func crowded(size int64, err error) error {
	e := full(size, err)
	e.Message = "the site has no room for what it must keep of the job"
	e.Rule = "a site keeps of ended attempts as much as its operator allows, and nothing that was not reported is removed"
	e.Help = "submit it again when the broker has taken what the site has to say, or when older attempts may go"
	return e
}
