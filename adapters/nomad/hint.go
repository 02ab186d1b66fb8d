package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Waits of what follows Nomad: before it asks again after a fault, and between
// two blocking queries on a cluster where something always changes.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 30 * time.Second
)

// hint says whether anything may have changed since a moment, its gen.
type hint struct {
	mu   sync.Mutex
	gen  uint64
	live bool
}

func (h *hint) changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gen++
}

func (h *hint) now() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gen
}

func (h *hint) set(live bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = live
	h.gen++
}

// stand says that it listens from now on; what happened before, its next answer
// says.
func (h *hint) stand() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = true
}

// quiet reports whether it listens and nothing changed since.
func (h *hint) quiet(gen uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live && h.gen == gen
}

// gens are the moments of a listing.
type gens struct{ stream, allocs, evals uint64 }

func (s *Scheduler) gens() gens {
	return gens{stream: s.stream.now(), allocs: s.allocs.now(), evals: s.evals.now()}
}

// changed says that this process itself changed something.
func (s *Scheduler) changed() {
	for _, h := range [...]*hint{&s.stream, &s.allocs, &s.evals} {
		h.changed()
	}
}

// unchanged reports whether a listing still holds. While both blocking queries
// stand, nothing in the cluster moved since: that is certain. Where others move
// things, the silence of the event stream is believed for a while; it is a hint
// only, since Nomad keeps its last events and drops what a reader is too slow for.
func (s *Scheduler) unchanged(w *world) bool {
	if s.allocs.quiet(w.gens.allocs) && s.evals.quiet(w.gens.evals) {
		return true
	}
	return s.stream.quiet(w.gens.stream) && s.cfg.Now().Sub(w.at) < s.cfg.Relist
}

// follow keeps the event stream and the blocking queries open until ctx ends.
// Nothing happens to a job without an evaluation or an allocation that changes.
func (s *Scheduler) follow(ctx context.Context) {
	s.followed.Go(func() { s.listen(ctx) })
	s.followed.Go(func() {
		s.block(ctx, &s.allocs, func(q *api.QueryOptions) (*api.QueryMeta, error) {
			_, meta, err := s.client.Allocations().List(q)
			return meta, err //nolint:wrapcheck // block looks at it alone
		})
	})
	s.followed.Go(func() {
		s.block(ctx, &s.evals, func(q *api.QueryOptions) (*api.QueryMeta, error) {
			_, meta, err := s.client.Evaluations().List(q)
			return meta, err //nolint:wrapcheck // block looks at it alone
		})
	})
}

// block asks for one row of a table again and again, each time to be answered
// when the table's index moved. It counts as listening only while a query stands.
func (s *Scheduler) block(ctx context.Context, h *hint, ask func(*api.QueryOptions) (*api.QueryMeta, error)) {
	var index uint64
	wait := firstWait
	for {
		if index != 0 {
			h.stand()
		}
		asked := s.cfg.Now()
		next, err := s.once(ctx, index, ask)
		switch {
		case err != nil || next == 0:
			index, wait = 0, min(2*wait, lastWait)
		case next == index && s.cfg.Now().Sub(asked) > firstWait:
			continue
		case next == index: // something between us and Nomad does not let it wait
			wait = min(2*wait, lastWait)
		default: // smaller after a restore: then it is read anew
			index, wait = max(next, 1), firstWait
		}
		h.set(false)
		if !pause(ctx, wait) {
			return
		}
	}
}

// once asks, and waits for a change beyond index unless that is 0. Nomad adds a
// sixteenth to the time and answers with nothing before it is over.
func (s *Scheduler) once(ctx context.Context, index uint64, ask func(*api.QueryOptions) (*api.QueryMeta, error)) (uint64, error) {
	q, done, err := s.query(ctx, s.cfg.listed())
	if err != nil {
		return 0, err
	}
	defer done()
	q.WaitIndex, q.WaitTime, q.PerPage = index, s.cfg.CallTimeout/2, 1
	meta, err := ask(q)
	if err != nil {
		return 0, translate("follow", err)
	}
	return meta.LastIndex, nil
}

// listen keeps an event stream open until ctx ends.
func (s *Scheduler) listen(ctx context.Context) {
	wait := firstWait
	for {
		opened := s.events(ctx)
		s.stream.set(false)
		if opened {
			wait = firstWait
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, lastWait)
	}
}

// events reads one event stream to its end and reports whether it ever opened.
func (s *Scheduler) events(ctx context.Context) bool {
	tok, err := s.token()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := &api.QueryOptions{Namespace: s.cfg.listed(), AuthToken: tok, Params: map[string]string{}}
	topics := map[api.Topic][]string{api.TopicJob: {"*"}, api.TopicAllocation: {"*"}, api.TopicEvaluation: {"*"}}
	ch, err := s.client.EventStream().Stream(ctx, topics, 0, q)
	if err != nil {
		s.cfg.Log.DebugContext(ctx, "open the event stream", "error", err)
		return false
	}
	s.stream.set(true)
	for ev := range ch {
		if ev.Err != nil {
			break
		}
		if len(ev.Events) > 0 {
			s.stream.changed()
		}
	}
	cancel()
	for range ch { //nolint:revive // the client ends once it was heard out
	}
	return true
}
