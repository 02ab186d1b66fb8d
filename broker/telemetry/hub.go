package telemetry

import (
	"sync"

	"github.com/valico-hpc/valico/broker"
)

// Hub wakes whoever waits for new events of a job. A wake-up carries nothing:
// the waiter reads the projection from its own cursor, so a slow one misses
// nothing and holds nobody up. Its zero value is ready.
type Hub struct {
	mu   sync.Mutex
	subs map[topic]map[chan struct{}]struct{}
}

// topic is one tenant's job; the tenant is part of it so that a job's id alone
// wakes nobody.
type topic struct {
	tenant broker.TenantID
	job    broker.JobID
}

// Subscribe returns a channel that holds at most one wake-up, and what ends the
// subscription. The channel is never closed.
func (h *Hub) Subscribe(tenant broker.TenantID, job broker.JobID) (wake <-chan struct{}, cancel func()) {
	c, t := make(chan struct{}, 1), topic{tenant, job}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[topic]map[chan struct{}]struct{}{}
	}
	if h.subs[t] == nil {
		h.subs[t] = map[chan struct{}]struct{}{}
	}
	h.subs[t][c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs[t], c)
		if len(h.subs[t]) == 0 {
			delete(h.subs, t)
		}
	}
}

// Notify wakes the job's subscribers and never blocks.
func (h *Hub) Notify(tenant broker.TenantID, job broker.JobID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.subs[topic{tenant, job}] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
