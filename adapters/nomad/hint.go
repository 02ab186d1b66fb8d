package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
)

// hint says whether anything may have changed. It is never the truth: Nomad
// keeps its last events only, and drops what a reader is too slow for.
type hint struct {
	done chan struct{}

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

// quiet reports whether the stream is open and said nothing since.
func (h *hint) quiet(gen uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live && h.gen == gen
}

// listen keeps an event stream open until ctx ends.
func (s *Scheduler) listen(ctx context.Context) {
	defer close(s.hint.done)
	wait := 100 * time.Millisecond
	for {
		opened := s.stream(ctx)
		s.hint.set(false)
		if opened {
			wait = 100 * time.Millisecond
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, 30*time.Second)
	}
}

// stream reads one event stream to its end and reports whether it ever opened.
func (s *Scheduler) stream(ctx context.Context) bool {
	tok, err := s.token()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := &api.QueryOptions{Namespace: s.cfg.Namespace, AuthToken: tok, Params: map[string]string{}}
	topics := map[api.Topic][]string{api.TopicJob: {"*"}, api.TopicAllocation: {"*"}, api.TopicEvaluation: {"*"}}
	ch, err := s.client.EventStream().Stream(ctx, topics, 0, q)
	if err != nil {
		s.cfg.Log.DebugContext(ctx, "open the event stream", "error", err)
		return false
	}
	s.hint.set(true)
	for ev := range ch {
		if ev.Err != nil {
			break
		}
		if len(ev.Events) > 0 {
			s.hint.changed()
		}
	}
	cancel()
	for range ch { //nolint:revive // the client ends once it was heard out
	}
	return true
}
