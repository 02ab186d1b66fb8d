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
	if c.MaxAge <= 0 {
		c.MaxAge = 7 * 24 * time.Hour
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 1 << 30
	}
	if c.Duplicates <= 0 {
		c.Duplicates = 2 * time.Minute
	}
	for _, s := range []jetstream.StreamConfig{
		{Name: StreamSites, Subjects: []string{sitesPrefix + ">"}, Discard: jetstream.DiscardOld, MaxAge: c.MaxAge},
		{Name: StreamBroker, Subjects: []string{brokerPrefix + ">"}, Discard: jetstream.DiscardNew, MaxAge: c.MaxAge},
	} {
		s.Storage, s.MaxBytes, s.MaxMsgSize, s.Duplicates = jetstream.FileStorage, c.MaxBytes, MaxMessage, c.Duplicates
		if _, err := js.CreateOrUpdateStream(ctx, s); err != nil {
			return fmt.Errorf("create stream %s: %w", s.Name, err)
		}
	}
	return nil
}
