package link

import (
	"context"
	"crypto"
	"io"

	"github.com/valico-hpc/valico/broker"
)

// Agent is what a Responder calls: package agent satisfies it. Methods may be
// called concurrently, and each is idempotent or reads.
type Agent interface {
	Start(ctx context.Context, o broker.SignedOrder) error
	Stop(ctx context.Context, id broker.AttemptID) error
	Reports(ctx context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error)
	Release(ctx context.Context, id broker.AttemptID, envelope []byte) error
	Open(ctx context.Context, id broker.AttemptID, path string) (io.ReadCloser, broker.OutputFile, error)
}

// Book is what a Site needs of the broker's record.
type Book interface {
	// AgentKey is the public key that the site's agent was enrolled with, or
	// KindNotFound. It is asked for before each request, so that a key that was
	// taken away counts no more at once; it should cost little.
	AgentKey(ctx context.Context, id broker.SiteID) (crypto.PublicKey, error)
	// RecordAlerts keeps alerts for the operators. An alert whose id is known
	// replaces the earlier one: its count grew.
	RecordAlerts(ctx context.Context, alerts []broker.SiteAlert) error
}
