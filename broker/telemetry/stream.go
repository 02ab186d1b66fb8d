package telemetry

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamConfig bounds the streams; zero values take the defaults named.
type StreamConfig struct {
	MaxAge     time.Duration // of site events; 7 days
	MaxBytes   int64         // of each stream; 1 GiB
	Duplicates time.Duration // the window of message ids; 2 min
}

// EnsureStreams creates or updates both streams. It is idempotent.
func EnsureStreams(ctx context.Context, js jetstream.JetStream, c StreamConfig) error {
	for _, name := range []string{StreamSites, StreamBroker} {
		if err := ensureStream(ctx, js, c, name); err != nil {
			return err
		}
	}
	return nil
}

// ensureStream creates or updates one stream. The server races with itself when
// a stream is updated while a consumer of it is made, so whoever makes a
// consumer ensures that one stream before, and no other.
func ensureStream(ctx context.Context, js jetstream.JetStream, c StreamConfig, name string) error {
	if c.MaxAge <= 0 {
		c.MaxAge = 7 * 24 * time.Hour
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 1 << 30
	}
	if c.Duplicates <= 0 {
		c.Duplicates = 2 * time.Minute
	}
	s := jetstream.StreamConfig{
		Name: name, Subjects: []string{sitesPrefix + ">"}, Discard: jetstream.DiscardOld, MaxAge: c.MaxAge,
		Storage: jetstream.FileStorage, MaxBytes: c.MaxBytes, MaxMsgSize: MaxMessage, Duplicates: c.Duplicates,
	}
	if name == StreamBroker {
		s.Subjects, s.Discard = []string{brokerPrefix + ">"}, jetstream.DiscardNew
	}
	if _, err := js.CreateOrUpdateStream(ctx, s); err != nil {
		return fmt.Errorf("create stream %s: %w", name, err)
	}
	return nil
}
