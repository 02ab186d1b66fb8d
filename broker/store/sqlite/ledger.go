package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// ledgerTx is the ledger's view of a write.
type ledgerTx struct {
	*tx
	project broker.ProjectID
}

// appendEntry adds a leaf in the transaction of what it records.
func appendEntry(ctx context.Context, t *tx, project broker.ProjectID, e ledger.Entry) (int64, error) {
	i, err := ledger.Append(ctx, ledgerTx{tx: t, project: project}, e)
	if err != nil {
		return 0, fmt.Errorf("append to the ledger: %w", err)
	}
	return i, nil
}

func (t ledgerTx) Size(ctx context.Context) (int64, error) { return ledgerSize(ctx, t.tx) }

func (t ledgerTx) ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	return ledgerHashes(ctx, t.tx, indexes)
}

func (t ledgerTx) Head(ctx context.Context, tenant broker.TenantID, permit broker.PermitID) (ledger.Head, error) {
	var h ledger.Head
	var key, leaf []byte
	err := t.get(ctx, `SELECT key, seq, leaf FROM ledger_permit WHERE tenant_id = ? AND permit_id = ?`,
		[]any{tenant, permit}, &key, &h.Seq, &leaf)
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.Head{}, nil
	}
	if err != nil {
		return ledger.Head{}, err
	}
	return h, errors.Join(hash32(&h.Key, key), hash32(&h.Leaf, leaf))
}

func (t ledgerTx) Insert(ctx context.Context, r ledger.Row, hashes []tlog.Hash) error {
	e := r.Entry
	_, err := t.exec(ctx, `INSERT INTO ledger_permit (tenant_id, permit_id, key, seq, leaf) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (tenant_id, permit_id) DO UPDATE SET seq = excluded.seq, leaf = excluded.leaf`,
		e.Tenant, e.Permit, r.Key[:], r.Record.Seq, r.Leaf[:])
	if err != nil {
		return fmt.Errorf("move the permit's head: %w", err)
	}
	_, err = t.exec(ctx, `INSERT INTO ledger_row
		(idx, tenant_id, project_id, permit_id, person_id, kind, at, seq, record, salt, document, leaf)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.Index, e.Tenant, t.project, e.Permit, e.Person, e.Kind, micros(e.At), r.Record.Seq,
		r.RecordBytes, r.Salt[:], e.Document, r.Leaf[:])
	if err != nil {
		return fmt.Errorf("insert the row: %w", err)
	}
	first := tlog.StoredHashIndex(0, r.Index)
	for i, h := range hashes {
		if _, err := t.exec(ctx, `INSERT INTO ledger_hash (idx, hash) VALUES (?, ?)`, first+int64(i), h[:]); err != nil {
			return fmt.Errorf("insert a tree hash: %w", err)
		}
	}
	return nil
}

func ledgerSize(ctx context.Context, q querier) (n int64, err error) {
	err = q.get(ctx, `SELECT coalesce(max(idx) + 1, 0) FROM ledger_row`, nil, &n)
	return n, err
}

func ledgerHashes(ctx context.Context, q querier, indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, idx := range indexes {
		var b []byte
		if err := q.get(ctx, `SELECT hash FROM ledger_hash WHERE idx = ?`, []any{idx}, &b); err != nil {
			return nil, fmt.Errorf("read tree hash %d: %w", idx, err)
		}
		if len(b) != tlog.HashSize {
			return nil, fmt.Errorf("tree hash %d has %d bytes: %w", idx, len(b), errDamaged)
		}
		out[i] = tlog.Hash(b)
	}
	return out, nil
}

// LedgerSize is the number of committed leaves.
func (s *Store) LedgerSize(ctx context.Context) (int64, error) {
	n, err := ledgerSize(ctx, s.read)
	return n, translate("read the ledger's size", err)
}

// LedgerHashes returns tree hashes by tlog.StoredHashIndex.
func (s *Store) LedgerHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	hs, err := ledgerHashes(ctx, s.read, indexes)
	return hs, translate("read tree hashes", err)
}

const rowColumns = `r.idx, r.tenant_id, r.permit_id, r.person_id, r.kind, r.at, r.record, r.salt, r.document, r.leaf, p.key
	FROM ledger_row r JOIN ledger_permit p ON p.tenant_id = r.tenant_id AND p.permit_id = r.permit_id`

func scanRow(scan scanner) (ledger.Row, error) {
	var r ledger.Row
	var at sql.NullInt64
	var salt, leaf, key []byte
	err := scan(&r.Index, &r.Entry.Tenant, &r.Entry.Permit, &r.Entry.Person, &r.Entry.Kind, &at,
		&r.RecordBytes, &salt, &r.Entry.Document, &leaf, &key)
	if err != nil {
		return ledger.Row{}, err
	}
	r.Entry.At = moment(at)
	if r.Record, err = receipt.DecodeRecord(r.RecordBytes); err != nil {
		return ledger.Row{}, fmt.Errorf("leaf %d: %s: %w", r.Index, err.Error(), errDamaged)
	}
	return r, errors.Join(hash32(&r.Salt, salt), hash32(&r.Leaf, leaf), hash32(&r.Key, key))
}

// LedgerRow returns one row of the log.
func (s *Store) LedgerRow(ctx context.Context, index int64) (ledger.Row, error) {
	r, err := only(ctx, s.read, `SELECT `+rowColumns+` WHERE r.idx = ?`, []any{index}, scanRow)
	return r, translate("read the ledger", missing(err, "ledger entry", fmt.Sprint(index)))
}

// LedgerRows returns a tenant's rows from an index on.
func (s *Store) LedgerRows(ctx context.Context, tenant broker.TenantID, from int64, limit int) ([]ledger.Row, error) {
	out, err := list(ctx, s.read, `SELECT `+rowColumns+` WHERE r.tenant_id = ? AND r.idx >= ? ORDER BY r.idx LIMIT ?`,
		[]any{tenant, from, limit}, scanRow)
	return out, translate("read the ledger", err)
}

// LedgerLeaves returns leaves from an index on.
func (s *Store) LedgerLeaves(ctx context.Context, from int64, limit int) ([]receipt.Hash, error) {
	var out []receipt.Hash
	err := s.read.each(ctx, `SELECT leaf FROM ledger_row WHERE idx >= ? ORDER BY idx LIMIT ?`,
		[]any{from, limit}, func(scan scanner) error {
			var b []byte
			if err := scan(&b); err != nil {
				return err
			}
			var h receipt.Hash
			err := hash32(&h, b)
			out = append(out, h)
			return err
		})
	return out, translate("read the ledger's leaves", err)
}

func newestCheckpoint(ctx context.Context, q querier) (ledger.Signed, error) {
	var c ledger.Signed
	var root []byte
	var at sql.NullInt64
	err := q.get(ctx, `SELECT size, root, note, at FROM ledger_checkpoint ORDER BY size DESC LIMIT 1`, nil, &c.Size, &root, &c.Note, &at)
	if err != nil {
		return ledger.Signed{}, missing(err, "checkpoint", "")
	}
	c.At = moment(at)
	return c, hash32((*receipt.Hash)(&c.Root), root)
}

// NewestCheckpoint returns the checkpoint of the largest tree.
func (s *Store) NewestCheckpoint(ctx context.Context) (ledger.Signed, error) {
	c, err := newestCheckpoint(ctx, s.read)
	return c, translate("read the newest checkpoint", err)
}

// SaveCheckpoint stores a checkpoint; the first of a size stays.
func (s *Store) SaveCheckpoint(ctx context.Context, c ledger.Signed) (ledger.Signed, error) {
	out := c
	err := s.write(ctx, "store a checkpoint", func(ctx context.Context, t *tx) error {
		n, err := ledgerSize(ctx, t)
		if err != nil {
			return err
		}
		if c.Size < 0 || c.Size > n {
			return conflict("checkpoint_ahead", "a checkpoint of more leaves than there are", fmt.Sprint(c.Size))
		}
		_, err = t.exec(ctx, `INSERT INTO ledger_checkpoint (size, root, note, at) VALUES (?, ?, ?, ?) ON CONFLICT (size) DO NOTHING`,
			c.Size, c.Root[:], c.Note, c.At.UTC().Truncate(time.Microsecond).UnixMicro())
		if err != nil {
			return err
		}
		var root []byte
		var at sql.NullInt64
		if err := t.get(ctx, `SELECT root, note, at FROM ledger_checkpoint WHERE size = ?`, []any{c.Size}, &root, &out.Note, &at); err != nil {
			return err
		}
		if string(root) != string(c.Root[:]) {
			return conflict("checkpoint_fork", "a checkpoint of that size has another root", fmt.Sprint(c.Size))
		}
		out.At = moment(at)
		return nil
	})
	return out, err
}

func hash32(to *receipt.Hash, b []byte) error {
	if len(b) != len(to) {
		return fmt.Errorf("a hash has %d bytes, got %d: %w", len(to), len(b), errDamaged)
	}
	copy(to[:], b)
	return nil
}
