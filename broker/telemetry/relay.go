package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// sender is what a relay sends through; *Publisher satisfies it.
type sender interface {
	Publish(ctx context.Context, events []broker.Event) error
}

// RelayConfig are a Relay's settings; zero values take the defaults named.
type RelayConfig struct {
	Poll  time.Duration // how often the outbox is looked at unasked; 500 ms
	Batch int           // rows per turn; 256
	Log   *slog.Logger  // discards
}

// Relay empties the record's outbox into NATS, in order.
type Relay struct {
	store Outbox
	send  sender
	cfg   RelayConfig
	kick  chan struct{}
}

// NewRelay makes a Relay.
func NewRelay(store Outbox, send sender, c RelayConfig) (*Relay, error) {
	if store == nil || send == nil {
		return nil, errors.New("telemetry: a relay needs a store and a publisher")
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Batch <= 0 {
		c.Batch = window
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Relay{store: store, send: send, cfg: c, kick: make(chan struct{}, 1)}, nil
}

// Kick makes the relay look at the outbox now.
func (r *Relay) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run empties the outbox until ctx ends and returns its cause. Faults are
// logged and tried again: rows stay in the outbox until they are acknowledged.
func (r *Relay) Run(ctx context.Context) error {
	t := time.NewTicker(r.cfg.Poll)
	defer t.Stop()
	for {
		n, err := r.Turn(ctx)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.WarnContext(ctx, "relay the outbox", "error", err)
		}
		if err == nil && n == r.cfg.Batch {
			continue // there is more
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		case <-r.kick:
		}
	}
}

// Turn sends one batch and returns how many rows it sent.
func (r *Relay) Turn(ctx context.Context) (int, error) {
	rows, err := r.store.Outbox(ctx, r.cfg.Batch)
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	events, ids := make([]broker.Event, 0, len(rows)), make([]int64, 0, len(rows))
	for _, row := range rows {
		events, ids = append(events, row.Event), append(ids, row.ID)
	}
	if err := r.send.Publish(ctx, events); err != nil {
		return 0, fmt.Errorf("send the outbox: %w", err)
	}
	if err := r.store.OutboxSent(ctx, ids); err != nil {
		return 0, fmt.Errorf("mark the outbox: %w", err)
	}
	return len(rows), nil
}
