package ledger

import (
	"context"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// Store reads what Append committed and keeps checkpoints. Methods may be
// called concurrently; rows never change once they can be read.
type Store interface {
	// LedgerSize is the number of committed leaves.
	LedgerSize(ctx context.Context) (int64, error)
	// LedgerHashes returns stored hashes by tlog.StoredHashIndex.
	LedgerHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	// LedgerRow returns one row, or KindNotFound.
	LedgerRow(ctx context.Context, index int64) (Row, error)
	// LedgerRows returns a tenant's rows from an index on, in order.
	LedgerRows(ctx context.Context, tenant broker.TenantID, from int64, limit int) ([]Row, error)
	// LedgerLeaves returns the leaves from an index on, in order.
	LedgerLeaves(ctx context.Context, from int64, limit int) ([]receipt.Hash, error)
	// NewestCheckpoint returns the checkpoint of the largest tree, or KindNotFound.
	NewestCheckpoint(ctx context.Context) (Signed, error)
	// SaveCheckpoint stores a checkpoint durably. A checkpoint of that size that
	// is already there stays and is returned; one of another root for that size,
	// or a size beyond the log, is KindConflict.
	SaveCheckpoint(ctx context.Context, s Signed) (Signed, error)
}

// Signed is a signed checkpoint.
type Signed struct {
	Size int64
	Root tlog.Hash
	Note []byte // the signed note
	At   time.Time
}
