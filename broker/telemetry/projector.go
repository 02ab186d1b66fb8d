package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
)

// durable is the name of the projector's place in each stream.
const durable = "projector"

// ProjectorConfig are a Projector's settings; zero values take the defaults
// named.
type ProjectorConfig struct {
	Streams  StreamConfig
	Batch    int           // messages per transaction; 256
	GapDelay time.Duration // how long a message that leaves a gap waits at first; 1 s
	GapTries uint64        // deliveries after which what is missing counts as lost; 20, about 15 min
	Retry    time.Duration // how long after a fault it is tried again; 500 ms
	Log      *slog.Logger  // discards
}

// Counters are what a Projector has seen since it was made.
type Counters struct {
	Applied   uint64 // events that were new
	Malformed uint64 // messages that cannot be read, or not under that subject
	Refused   uint64 // events that the record will never take
	Gaps      uint64 // messages given back because a number is missing before them
	Lost      uint64 // events thrown away because what is missing before them never came
}

// Projector moves events from the streams into the projection.
type Projector struct {
	js    jetstream.JetStream
	store Projection
	hub   *Hub
	cfg   ProjectorConfig

	applied, malformed, refused, gaps, lost atomic.Uint64
}

// NewProjector makes a Projector over a connection that the caller owns.
func NewProjector(nc *nats.Conn, store Projection, hub *Hub, c ProjectorConfig) (*Projector, error) {
	if nc == nil || store == nil || hub == nil {
		return nil, errors.New("telemetry: a projector needs a connection, a store and a hub")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("telemetry projector: %w", err)
	}
	if c.Batch <= 0 {
		c.Batch = window
	}
	if c.GapDelay <= 0 {
		c.GapDelay = time.Second
	}
	if c.GapTries == 0 {
		c.GapTries = 20
	}
	if c.Retry <= 0 {
		c.Retry = 500 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Projector{js: js, store: store, hub: hub, cfg: c}, nil
}

// Counters returns what was seen so far.
func (p *Projector) Counters() Counters {
	return Counters{
		Applied: p.applied.Load(), Malformed: p.malformed.Load(), Refused: p.refused.Load(), Gaps: p.gaps.Load(), Lost: p.lost.Load(),
	}
}

// Run makes the streams and projects both until ctx ends, and returns its
// cause. NATS may go and come back meanwhile.
func (p *Projector) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, stream := range []string{StreamSites, StreamBroker} {
		g.Go(func() error { return p.follow(ctx, stream) })
	}
	return g.Wait()
}

// follow consumes one stream for ever.
func (p *Projector) follow(ctx context.Context, stream string) error {
	log := p.cfg.Log.With("stream", stream)
	for {
		err := p.consume(ctx, stream)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		log.WarnContext(ctx, "project telemetry", "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(p.cfg.Retry):
		}
	}
}

// consume opens the durable consumer and pulls until something fails.
func (p *Projector) consume(ctx context.Context, stream string) error {
	open, done := context.WithTimeout(ctx, ackWait)
	defer done()
	if err := ensureStream(open, p.js, p.cfg.Streams, stream); err != nil {
		return err
	}
	c, err := p.js.CreateOrUpdateConsumer(open, stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: 30 * time.Second, MaxAckPending: -1, // what waits behind a gap must not hold up the rest
	})
	if err != nil {
		return fmt.Errorf("open the consumer: %w", err)
	}
	for ctx.Err() == nil {
		if err := p.pull(ctx, c); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// pull waits for the next message, takes what else is there and applies it.
func (p *Projector) pull(ctx context.Context, c jetstream.Consumer) error {
	first, err := c.Next(jetstream.FetchMaxWait(time.Second))
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoMessages) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for messages: %w", err)
	}
	msgs := []jetstream.Msg{first}
	rest, err := c.FetchNoWait(p.cfg.Batch - 1)
	if err == nil {
		for m := range rest.Messages() {
			msgs = append(msgs, m)
		}
	}
	return p.project(ctx, msgs)
}

// item is a message that could be read.
type item struct {
	msg   jetstream.Msg
	event broker.Event
}

// project reads messages and applies them; what cannot be read is ended.
func (p *Projector) project(ctx context.Context, msgs []jetstream.Msg) error {
	items := make([]item, 0, len(msgs))
	for _, m := range msgs {
		e, err := Decode(m.Subject(), m.Data())
		if err != nil {
			p.malformed.Add(1)
			p.cfg.Log.WarnContext(ctx, "telemetry message thrown away", "error", err)
			_ = m.Term() // on a failure it comes again and is ended then
			continue
		}
		items = append(items, item{m, e})
	}
	err := p.apply(ctx, items)
	if err != nil {
		for _, it := range items {
			_ = it.msg.NakWithDelay(p.cfg.Retry) // what is acknowledged already stays so
		}
	}
	return err
}

// apply applies a batch, and when the record refuses it halves it until the
// events to blame stand alone: their neighbours are not held up by them.
func (p *Projector) apply(ctx context.Context, items []item) error {
	if len(items) == 0 {
		return nil
	}
	events := make([]broker.Event, 0, len(items))
	for _, it := range items {
		events = append(events, it.event)
	}
	n, err := p.store.ApplyEvents(ctx, events)
	if err == nil {
		p.done(items, n)
		return nil
	}
	var end func(jetstream.Msg)
	switch broker.KindOf(err) {
	case broker.KindConflict:
		if broker.CodeOf(err) != CodeGap {
			return fmt.Errorf("apply events: %w", err)
		}
		end = p.wait
	case broker.KindInvalid, broker.KindForbidden, broker.KindNotFound:
		end = func(m jetstream.Msg) {
			p.refused.Add(1)
			_ = m.Term()
		}
	case broker.KindUnauthenticated, broker.KindNotAdmitted, broker.KindQuota, broker.KindUnavailable, broker.KindInternal:
		return fmt.Errorf("apply events: %w", err)
	}
	if len(items) == 1 {
		e := items[0].event
		p.cfg.Log.WarnContext(ctx, "event not applied", "job_id", e.Job, "attempt_id", e.Attempt,
			"source", e.Source, "seq", e.Seq, "error", err)
		end(items[0].msg)
		return nil
	}
	// Messages that came out of turn are put in turn first: often that is all.
	slices.SortStableFunc(items, func(a, b item) int { return compare(a.event, b.event) })
	half := len(items) / 2
	if err := p.apply(ctx, items[:half]); err != nil {
		return err
	}
	return p.apply(ctx, items[half:])
}

// compare orders events by attempt, source and number.
func compare(a, b broker.Event) int {
	return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Attempt, b.Attempt),
		cmp.Compare(a.Source, b.Source), cmp.Compare(a.Seq, b.Seq))
}

// wait gives a message that leaves a gap back, for longer each time, and ends
// it when the missing one has not come after all tries: it was lost, and what
// one source lost must not be carried along for ever.
func (p *Projector) wait(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err == nil && meta.NumDelivered >= p.cfg.GapTries {
		p.lost.Add(1)
		_ = m.Term()
		return
	}
	p.gaps.Add(1)
	delay := p.cfg.GapDelay
	for n := uint64(1); err == nil && n < meta.NumDelivered && delay < time.Minute; n++ {
		delay *= 2
	}
	_ = m.NakWithDelay(delay) // on a failure it comes again after AckWait
}

// done acknowledges what the record holds and wakes the waiters. A lost
// acknowledgement brings the message again, and the record drops it as seen.
func (p *Projector) done(items []item, applied int) {
	p.applied.Add(uint64(max(applied, 0)))
	woken := map[topic]bool{}
	for _, it := range items {
		_ = it.msg.Ack()
		t := topic{it.event.Tenant, it.event.Job}
		if !woken[t] {
			woken[t] = true
			p.hub.Notify(t.tenant, t.job)
		}
	}
}
