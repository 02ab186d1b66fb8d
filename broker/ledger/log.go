package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// TileHeight is the height of the hash tiles (C2SP tlog-tiles).
const TileHeight = 8

// maxPage bounds what one call reads.
const maxPage = 4096

// Log signs checkpoints over a store's tree and proves what is in it. It is
// safe for concurrent use.
type Log struct {
	store  Store
	signer note.Signer
	origin string
	now    func() time.Time
	// signing holds one value while no checkpoint is being made. Whoever waits
	// for it mostly finds that the checkpoint just made covers them too.
	signing chan struct{}
}

// NewLog makes a Log that signs as origin.
func NewLog(store Store, signer note.Signer, origin string, now func() time.Time) (*Log, error) {
	if store == nil || signer == nil || now == nil {
		return nil, errors.New("ledger: a store, a signer and a clock are required")
	}
	if origin == "" || signer.Name() != origin {
		return nil, fmt.Errorf("ledger: the key signs as %q, the log's origin is %q", signer.Name(), origin)
	}
	l := &Log{store: store, signer: signer, origin: origin, now: now, signing: make(chan struct{}, 1)}
	l.signing <- struct{}{}
	return l, nil
}

// GenerateKey makes a ledger key that signs as origin: the secret for the
// broker and the verifier key for whoever pins it.
func GenerateKey(origin string) (broker.Secret, string, error) {
	s, v, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", "", fmt.Errorf("generate a ledger key: %w", err)
	}
	if _, err := note.NewSigner(s); err != nil {
		return "", "", fmt.Errorf("a ledger key cannot sign as %q: %w", origin, err)
	}
	return broker.Secret(s), v, nil
}

// Origin names the log.
func (l *Log) Origin() string { return l.origin }

// Receipt proves that a leaf is in the log. It signs a checkpoint when the
// newest does not cover the leaf.
func (l *Log) Receipt(ctx context.Context, index int64) ([]byte, error) {
	row, err := l.store.LedgerRow(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("read leaf %d: %w", index, err)
	}
	cp, err := l.covering(ctx, index+1)
	if err != nil {
		return nil, err
	}
	if err := l.behind(ctx, cp); err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(cp.Size, index, reader(ctx, l.store.LedgerHashes))
	if err != nil {
		return nil, unavailable("prove leaf", index, err)
	}
	// What does not verify must not leave: the row may have been altered.
	leaf := row.Record.Leaf()
	if err := tlog.CheckRecord(proof, cp.Size, cp.Root, index, tlog.RecordHash(leaf[:])); err != nil {
		return nil, diverged(cp.Size, fmt.Errorf("leaf %d is not in the tree that was signed: %w", index, err))
	}
	r := receipt.Receipt{
		Schema: receipt.ReceiptSchema, Record: row.Record, Salt: row.Salt,
		Index: index, TreeSize: cp.Size, Checkpoint: string(cp.Note),
	}
	for _, h := range proof {
		r.Proof = append(r.Proof, receipt.Hash(h))
	}
	b, err := receipt.EncodeReceipt(r)
	if err != nil {
		return nil, fmt.Errorf("encode the receipt of leaf %d: %w", index, err)
	}
	return b, nil
}

// Checkpoint returns a signed checkpoint over all leaves there are.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, error) {
	size, err := l.store.LedgerSize(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the ledger's size: %w", err)
	}
	cp, err := l.covering(ctx, size)
	if err != nil {
		return nil, err
	}
	return cp.Note, l.behind(ctx, cp)
}

// Consistency proves that the tree of size from is the beginning of the tree
// of size to. Neither may be larger than the newest checkpoint.
func (l *Log) Consistency(ctx context.Context, from, to int64) (tlog.TreeProof, error) {
	cp, err := l.published(ctx)
	if err != nil {
		return nil, err
	}
	if from < 1 || from > to || to > cp.Size {
		return nil, notPublished("tree", to)
	}
	p, err := tlog.ProveTree(to, from, reader(ctx, l.store.LedgerHashes))
	if err != nil {
		return nil, unavailable("prove tree", to, err)
	}
	return p, nil
}

// Tile returns the hashes of a tile (height TileHeight, no data tiles) that
// lies within the newest checkpoint.
func (l *Log) Tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	cp, err := l.published(ctx)
	if err != nil {
		return nil, err
	}
	if t.H != TileHeight || t.L < 0 || t.L > 7 || t.N < 0 || t.W < 1 || t.W > 1<<TileHeight {
		return nil, notPublished("tile", t.N)
	}
	shift := uint(t.L * TileHeight)
	if have := cp.Size >> shift; t.N > have>>TileHeight || t.N<<TileHeight+int64(t.W) > have {
		return nil, notPublished("tile", t.N)
	}
	b, err := tlog.ReadTileData(t, reader(ctx, l.store.LedgerHashes))
	if err != nil {
		return nil, unavailable("read tile", t.N, err)
	}
	return b, nil
}

// Leaves returns up to n leaves from an index on.
func (l *Log) Leaves(ctx context.Context, from int64, n int) ([]receipt.Hash, error) {
	if from < 0 || n < 0 {
		return nil, notPublished("leaf", from)
	}
	return l.store.LedgerLeaves(ctx, from, min(n, maxPage))
}

// Records returns up to limit rows of a tenant from an index on: what a party
// needs to check its own part of the log.
func (l *Log) Records(ctx context.Context, tenant broker.TenantID, from int64, limit int) ([]Row, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	return l.store.LedgerRows(ctx, tenant, max(from, 0), limit)
}

func (l *Log) published(ctx context.Context) (Signed, error) {
	cp, err := l.store.NewestCheckpoint(ctx)
	if err != nil && broker.KindOf(err) != broker.KindNotFound {
		return Signed{}, fmt.Errorf("read the newest checkpoint: %w", err)
	}
	return cp, nil // none yet: the empty tree
}

// covering returns a checkpoint over at least size leaves.
func (l *Log) covering(ctx context.Context, size int64) (Signed, error) {
	cp, err := l.published(ctx)
	if err != nil || (cp.Size >= size && cp.Note != nil) {
		return cp, err
	}
	select {
	case <-l.signing:
		defer func() { l.signing <- struct{}{} }()
	case <-ctx.Done():
		return Signed{}, unavailable("wait for a checkpoint over leaf", size-1, context.Cause(ctx))
	}
	if cp, err = l.published(ctx); err != nil || (cp.Size >= size && cp.Note != nil) {
		return cp, err
	}
	return l.sign(ctx, cp, size)
}

// behind refuses a log that holds less than was signed: a restored backup.
func (l *Log) behind(ctx context.Context, cp Signed) error {
	n, err := l.store.LedgerSize(ctx)
	if err != nil {
		return fmt.Errorf("read the ledger's size: %w", err)
	}
	if n < cp.Size {
		return diverged(cp.Size, fmt.Errorf("the log holds %d leaves, fewer than were there", n))
	}
	return nil
}

// sign makes the checkpoint that follows old over all leaves there are.
func (l *Log) sign(ctx context.Context, old Signed, size int64) (Signed, error) {
	n, err := l.store.LedgerSize(ctx)
	if err != nil {
		return Signed{}, fmt.Errorf("read the ledger's size: %w", err)
	}
	if n < size || n < old.Size {
		return Signed{}, diverged(old.Size, fmt.Errorf("the log holds %d leaves, fewer than were there", n))
	}
	hashes := reader(ctx, l.store.LedgerHashes)
	if old.Size > 0 {
		was, err := tlog.TreeHash(old.Size, hashes)
		if err != nil {
			return Signed{}, unavailable("hash the tree of size", old.Size, err)
		}
		if was != old.Root {
			return Signed{}, diverged(old.Size, fmt.Errorf("it hashes to %s now, %s was signed", was, old.Root))
		}
	}
	root, err := tlog.TreeHash(n, hashes)
	if err != nil {
		return Signed{}, unavailable("hash the tree of size", n, err)
	}
	text := receipt.Checkpoint{Origin: l.origin, Size: n, Root: root}.Text()
	b, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		return Signed{}, fmt.Errorf("sign the checkpoint of size %d: %w", n, err)
	}
	cp, err := l.store.SaveCheckpoint(ctx, Signed{Size: n, Root: root, Note: b, At: l.now().UTC().Truncate(time.Microsecond)})
	if err != nil {
		return Signed{}, fmt.Errorf("store the checkpoint of size %d: %w", n, err)
	}
	return cp, nil
}

func unavailable(what string, n int64, err error) error {
	if e, ok := errors.AsType[*broker.Error](err); ok {
		return fmt.Errorf("%s %d: %w", what, n, e)
	}
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "ledger_unavailable", Message: "the ledger does not answer; nothing ran",
		Rule: "nothing is cleared without a receipt from the ledger", Help: "try again later", Who: "the broker's operator",
		Err: fmt.Errorf("%s %d: %w", what, n, err),
	}
}

func diverged(size int64, err error) error {
	return &broker.Error{
		Kind: broker.KindInternal, Code: "ledger_diverged", Message: "the ledger contradicts a checkpoint that was signed; nothing runs",
		Rule: "a checkpoint is signed only over a tree that holds the one before it unchanged",
		Help: "stop the broker and compare the record with the witnesses' checkpoints and backups", Who: "the broker's operator",
		Err: fmt.Errorf("tree of size %d: %w", size, err),
	}
}

func notPublished(what string, n int64) error {
	return broker.NotFound(what, fmt.Sprint(n))
}
