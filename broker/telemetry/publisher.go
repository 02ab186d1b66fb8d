package telemetry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/valico-hpc/valico/broker"
)

// window is how many messages a Publisher has in flight.
const window = 256

// ackWait is how long a Publisher waits for one acknowledgement.
const ackWait = 5 * time.Second

// Publisher sends events and waits until each is acknowledged. It satisfies
// the port of package agent and is safe for concurrent use; events keep their
// order within one call.
type Publisher struct {
	js jetstream.JetStream
}

// NewPublisher makes a Publisher over a connection that the caller owns.
func NewPublisher(nc *nats.Conn) (*Publisher, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4*window), jetstream.WithPublishAsyncTimeout(ackWait))
	if err != nil {
		return nil, fmt.Errorf("telemetry publisher: %w", err)
	}
	return &Publisher{js: js}, nil
}

// Publish sends events in order and returns nil only if all of them are
// acknowledged. After an error any of them may have arrived; sending them again
// is safe. An event that can never travel fails with KindInvalid; what cannot
// be reached is KindUnavailable.
func (p *Publisher) Publish(ctx context.Context, events []broker.Event) error {
	msgs := make([]*nats.Msg, 0, len(events))
	for _, e := range events {
		m, err := message(e)
		if err != nil {
			return &broker.Error{
				Kind: broker.KindInvalid, Code: "event_invalid", Message: "an event cannot be sent",
				Rule: "an event names tenant, job, source, number and kind", Err: err,
			}
		}
		msgs = append(msgs, m)
	}
	for len(msgs) > 0 {
		n := min(window, len(msgs))
		if err := p.send(ctx, msgs[:n]); err != nil {
			return &broker.Error{
				Kind: broker.KindUnavailable, Code: "telemetry_unavailable", Message: "telemetry does not answer",
				Rule: "an event counts as sent when it is acknowledged", Help: "nothing is lost; it is sent again", Err: err,
			}
		}
		msgs = msgs[n:]
	}
	return nil
}

func message(e broker.Event) (*nats.Msg, error) {
	subject, err := Subject(e)
	if err != nil {
		return nil, err
	}
	body, err := Encode(e)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(subject)
	m.Data = body
	m.Header.Set(jetstream.MsgIDHeader, MessageID(e))
	return m, nil
}

// send sends one window and waits for it. It stops sending at the first
// failure, so that no later event overtakes an earlier one by much.
func (p *Publisher) send(ctx context.Context, msgs []*nats.Msg) error {
	futures := make([]jetstream.PubAckFuture, 0, len(msgs))
	var errs []error
	for _, m := range msgs {
		f, err := p.js.PublishMsgAsync(m, jetstream.WithStallWait(ackWait))
		if err != nil {
			errs = append(errs, err)
			break
		}
		futures = append(futures, f)
	}
	t := time.NewTimer(2 * ackWait)
	defer t.Stop()
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			errs = append(errs, err)
		case <-t.C:
			return errors.Join(append(errs, errors.New("no acknowledgement"))...)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("publish %d events: %d failed: %w", len(msgs), len(errs), errs[0])
	}
	return nil
}
