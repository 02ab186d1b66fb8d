package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// Tx is the ledger's part of a store's transaction.
type Tx interface {
	// Size is the number of leaves, those of this transaction included.
	Size(ctx context.Context) (int64, error)
	// ReadHashes returns stored hashes by tlog.StoredHashIndex.
	ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	// Head returns where a tenant's permit stands; Seq is 0 when it has no leaf.
	Head(ctx context.Context, tenant broker.TenantID, permit broker.PermitID) (Head, error)
	// Insert stores a row, the tree hashes that it completes, from
	// tlog.StoredHashIndex(0, row.Index) on, and the row as its permit's head.
	Insert(ctx context.Context, row Row, hashes []tlog.Hash) error
}

// Head is the newest leaf of a permit and the key of its commitments.
type Head struct {
	Seq  int64
	Leaf receipt.Hash
	Key  receipt.Hash
}

// Row is an entry as it was appended, with all that opens its record.
type Row struct {
	Index       int64
	Entry       Entry
	Record      receipt.Record
	RecordBytes []byte       // the record's one encoding; Leaf is its SHA-256
	Salt        receipt.Hash // of the document's commitment
	Key         receipt.Hash // of the permit's commitments
	Leaf        receipt.Hash
}

// Append adds an entry to the tree and returns its index. It must run inside
// the transaction that writes what the entry records.
func Append(ctx context.Context, tx Tx, e Entry) (int64, error) {
	if err := check(e); err != nil {
		return 0, err
	}
	head, err := tx.Head(ctx, e.Tenant, e.Permit)
	if err != nil {
		return 0, fmt.Errorf("read the permit's head: %w", err)
	}
	if head.Seq == 0 {
		head = Head{Key: random()}
	}
	index, err := tx.Size(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the ledger's size: %w", err)
	}
	row, err := newRow(index, head, e)
	if err != nil {
		return 0, err
	}
	hashes, err := tlog.StoredHashes(index, row.Leaf[:], reader(ctx, tx.ReadHashes))
	if err != nil {
		return 0, fmt.Errorf("integrate leaf %d: %w", index, err)
	}
	if err := tx.Insert(ctx, row, hashes); err != nil {
		return 0, fmt.Errorf("insert leaf %d: %w", index, err)
	}
	return index, nil
}

func check(e Entry) error {
	var bad string
	switch {
	case e.Kind == "":
		bad = "kind"
	case e.Tenant == "":
		bad = "tenant"
	case e.Permit == "":
		bad = "permit"
	case e.Person == "":
		bad = "person"
	case len(e.Document) == 0:
		bad = "document"
	case e.At.IsZero():
		bad = "time"
	default:
		return nil
	}
	return &broker.Error{
		Kind: broker.KindInternal, Code: "ledger_entry", Message: "a ledger entry without " + bad,
		Rule: "every decision and act is recorded with who, what, when and under which permit",
	}
}

func newRow(index int64, head Head, e Entry) (Row, error) {
	e.At = e.At.UTC().Truncate(time.Microsecond)
	salt := random()
	rec := receipt.Record{
		Version: receipt.RecordVersion, Kind: e.Kind, At: receipt.Stamp(e.At),
		Tenant:    receipt.TenantCommitment(head.Key, string(e.Tenant)),
		Permit:    receipt.PermitCommitment(head.Key, string(e.Permit)),
		Pseudonym: receipt.Pseudonym(head.Key, string(e.Person)),
		Seq:       head.Seq + 1, Prev: head.Leaf,
		Document: receipt.DocumentCommitment(salt, e.Document),
	}
	b, err := receipt.EncodeRecord(rec)
	if err != nil {
		return Row{}, fmt.Errorf("encode leaf %d: %w", index, err)
	}
	return Row{
		Index: index, Entry: e, Record: rec, RecordBytes: b, Salt: salt, Key: head.Key, Leaf: sha256.Sum256(b),
	}, nil
}

func random() receipt.Hash {
	var h receipt.Hash
	_, _ = rand.Read(h[:]) // crypto/rand.Read never returns an error
	return h
}

// reader gives tlog, which knows no context, one that reads under ctx.
func reader(ctx context.Context, read func(context.Context, []int64) ([]tlog.Hash, error)) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		if len(indexes) == 0 {
			return nil, nil
		}
		return read(ctx, indexes)
	})
}
