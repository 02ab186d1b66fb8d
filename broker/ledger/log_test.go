package ledger_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

const origin = "ledger.example.org/valico"

// memory is a ledger's store whose content a test may alter.
type memory struct {
	mu     sync.Mutex
	rows   []ledger.Row
	hashes []tlog.Hash
	signed []ledger.Signed
	broken error // what every method answers, when set
}

func (m *memory) Size(context.Context) (int64, error) { return int64(len(m.rows)), m.broken }

func (m *memory) ReadHashes(_ context.Context, is []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range is {
		if i >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", i)
		}
		out = append(out, m.hashes[i])
	}
	return out, m.broken
}

func (m *memory) Head(_ context.Context, tenant broker.TenantID, permit broker.PermitID) (ledger.Head, error) {
	var h ledger.Head
	for _, r := range m.rows {
		if r.Entry.Tenant == tenant && r.Entry.Permit == permit {
			h = ledger.Head{Seq: r.Record.Seq, Leaf: r.Leaf, Key: r.Key}
		}
	}
	return h, m.broken
}

func (m *memory) Insert(_ context.Context, r ledger.Row, hs []tlog.Hash) error {
	m.rows, m.hashes = append(m.rows, r), append(m.hashes, hs...)
	return m.broken
}

func (m *memory) append(ctx context.Context, e ledger.Entry) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ledger.Append(ctx, m, e)
}

func (m *memory) LedgerSize(ctx context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Size(ctx)
}

func (m *memory) LedgerHashes(ctx context.Context, is []int64) ([]tlog.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ReadHashes(ctx, is)
}

func (m *memory) LedgerRow(_ context.Context, i int64) (ledger.Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i < 0 || i >= int64(len(m.rows)) {
		return ledger.Row{}, broker.NotFound("ledger entry", fmt.Sprint(i))
	}
	return m.rows[i], m.broken
}

func (m *memory) LedgerRows(_ context.Context, tenant broker.TenantID, from int64, limit int) ([]ledger.Row, error) {
	var out []ledger.Row
	for _, r := range m.rows {
		if r.Entry.Tenant == tenant && r.Index >= from && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, m.broken
}

func (m *memory) LedgerLeaves(_ context.Context, from int64, limit int) ([]receipt.Hash, error) {
	var out []receipt.Hash
	for _, r := range m.rows {
		if r.Index >= from && len(out) < limit {
			out = append(out, r.Leaf)
		}
	}
	return out, m.broken
}

func (m *memory) NewestCheckpoint(context.Context) (ledger.Signed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.signed) == 0 {
		return ledger.Signed{}, broker.NotFound("checkpoint", "")
	}
	return m.signed[len(m.signed)-1], m.broken
}

func (m *memory) SaveCheckpoint(_ context.Context, s ledger.Signed) (ledger.Signed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.signed = append(m.signed, s)
	return s, m.broken
}

func entry(i int) ledger.Entry {
	return ledger.Entry{
		Kind: ledger.KindAdmission, Tenant: broker.TenantID(fmt.Sprintf("t%d", i%2)), Permit: "p", Person: "ada@example.org",
		Document: fmt.Appendf(nil, "document %d", i), At: time.Unix(int64(i), 0),
	}
}

func newLog(tb testing.TB, n int) (*ledger.Log, *memory, []note.Verifier) {
	tb.Helper()
	m := &memory{}
	for i := range n {
		index, err := m.append(tb.Context(), entry(i))
		require.NoError(tb, err)
		require.EqualValues(tb, i, index)
	}
	secret, vkey, err := ledger.GenerateKey(origin)
	require.NoError(tb, err)
	require.Equal(tb, "REDACTED", fmt.Sprint(secret))
	signer, err := note.NewSigner(string(secret))
	require.NoError(tb, err)
	v, err := note.NewVerifier(vkey)
	require.NoError(tb, err)
	l, err := ledger.NewLog(m, signer, origin, time.Now)
	require.NoError(tb, err)
	_, err = ledger.NewLog(m, signer, "another", time.Now)
	require.Error(tb, err, "a key signs under its own name")
	return l, m, []note.Verifier{v}
}

func TestReceiptsOfAGrowingLogVerifyAndShareCheckpoints(t *testing.T) {
	t.Parallel()
	l, m, pinned := newLog(t, 5)
	for i := range 5 {
		b, err := l.Receipt(t.Context(), int64(i))
		require.NoError(t, err)
		info, err := receipt.Verify(b, entry(i).Document, pinned)
		require.NoError(t, err)
		require.EqualValues(t, i/2+1, info.Seq)
	}
	require.Len(t, m.signed, 1, "one checkpoint covers all")
	var g errgroup.Group
	for i := range 64 {
		g.Go(func() error {
			index, err := m.append(t.Context(), entry(i))
			if err != nil {
				return err
			}
			b, err := l.Receipt(t.Context(), index)
			if err != nil {
				return err
			}
			_, err = receipt.Verify(b, entry(i).Document, pinned)
			return err
		})
	}
	require.NoError(t, g.Wait())
	t.Logf("64 parallel receipts took %d checkpoints", len(m.signed)-1)
	for i := 1; i < len(m.signed); i++ {
		p, err := l.Consistency(t.Context(), m.signed[i-1].Size, m.signed[i].Size)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckTree(p, m.signed[i].Size, m.signed[i].Root, m.signed[i-1].Size, m.signed[i-1].Root))
	}
}

func TestTenantsWithPermitsOfOneNameHaveChainsAndKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	_, m, _ := newLog(t, 6)
	for i, r := range m.rows {
		require.EqualValues(t, i/2+1, r.Record.Seq)
		if i >= 2 {
			require.Equal(t, m.rows[i-2].Leaf, r.Record.Prev)
			require.Equal(t, m.rows[i-2].Record.Pseudonym, r.Record.Pseudonym, "the same within a permit")
		}
	}
	require.NotEqual(t, m.rows[0].Record.Pseudonym, m.rows[1].Record.Pseudonym, "another in another")
	require.NotEqual(t, m.rows[0].Record.Permit, m.rows[1].Record.Permit)
}

func TestALogThatContradictsItsCheckpointSignsNothingMore(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(*memory){
		"a leaf flipped in the tree": func(m *memory) { m.hashes[tlog.StoredHashIndex(0, 4)][0] ^= 1 },
		"a subtree flipped":          func(m *memory) { m.hashes[tlog.StoredHashIndex(2, 0)][0] ^= 1 },
		"rolled back to a backup":    func(m *memory) { m.rows, m.hashes = m.rows[:2], m.hashes[:tlog.StoredHashCount(2)] },
		"another history":            func(m *memory) { other := forked(5); m.rows, m.hashes = other.rows, other.hashes },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, m, _ := newLog(t, 5)
			_, err := l.Checkpoint(t.Context())
			require.NoError(t, err)
			attack(m)
			_, err = m.append(t.Context(), entry(9))
			require.NoError(t, err)
			for range 2 { // and it stays so
				_, err = l.Receipt(t.Context(), int64(len(m.rows)-1))
				require.Equal(t, "ledger_diverged", broker.CodeOf(err), "%v", err)
				_, err = l.Checkpoint(t.Context())
				require.Equal(t, "ledger_diverged", broker.CodeOf(err), "%v", err)
				require.Equal(t, broker.KindInternal, broker.KindOf(err))
			}
			require.Len(t, m.signed, 1)
		})
	}
}

func forked(n int) *memory {
	m := &memory{}
	for i := range n {
		_, _ = m.append(context.Background(), entry(i))
	}
	return m
}

func TestARowThatWasAlteredHasNoReceipt(t *testing.T) {
	t.Parallel()
	l, m, _ := newLog(t, 5)
	m.rows[3].Record.Pseudonym[0] ^= 1
	_, err := l.Receipt(t.Context(), 3)
	require.Equal(t, "ledger_diverged", broker.CodeOf(err))
	_, err = l.Receipt(t.Context(), 4)
	require.NoError(t, err)
	_, err = l.Receipt(t.Context(), 5)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func TestAStoreThatDoesNotAnswerGivesNoReceipt(t *testing.T) {
	t.Parallel()
	l, m, _ := newLog(t, 5)
	m.broken = &broker.Error{Kind: broker.KindUnavailable, Code: "store_unavailable", Message: "gone"}
	_, err := l.Receipt(t.Context(), 3)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	_, err = l.Checkpoint(t.Context())
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	_, err = ledger.Append(t.Context(), m, entry(1))
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
}

func TestTilesGiveTheTreeThatWasSigned(t *testing.T) {
	t.Parallel()
	l, m, _ := newLog(t, 600)
	_, err := l.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 0, W: 256})
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "before the first checkpoint")
	_, err = l.Checkpoint(t.Context())
	require.NoError(t, err)
	tree := tlog.Tree{N: 600, Hash: m.signed[0].Root}
	r := tlog.TileHashReader(tree, tiles{t: t, l: l})
	for i, row := range m.rows {
		hs, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(i))})
		require.NoError(t, err)
		require.Equal(t, tlog.RecordHash(row.Leaf[:]), hs[0])
	}
	for _, bad := range []tlog.Tile{
		{H: 8, L: 0, N: 2, W: 89},
		{H: 8, L: 1, N: 0, W: 3},
		{H: 8, L: 0, N: 3, W: 1},
		{H: 4, L: 0, N: 0, W: 1},
		{H: 8, L: -1, N: 0, W: 1},
		{H: 8, L: 0, N: -1, W: 1},
		{H: 8, L: 0, N: 0, W: 257},
		{H: 8, L: 0, N: 1 << 60, W: 1},
	} {
		_, err := l.Tile(t.Context(), bad)
		require.Equal(t, broker.KindNotFound, broker.KindOf(err), "%+v", bad)
	}
}

type tiles struct {
	t *testing.T
	l *ledger.Log
}

func (tiles) Height() int                     { return ledger.TileHeight }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (x tiles) ReadTiles(ts []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range ts {
		b, err := x.l.Tile(x.t.Context(), t)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func TestAnEntryWithoutWhoOrWhatIsRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*ledger.Entry){
		"kind": func(e *ledger.Entry) { e.Kind = "" }, "tenant": func(e *ledger.Entry) { e.Tenant = "" },
		"permit": func(e *ledger.Entry) { e.Permit = "" }, "person": func(e *ledger.Entry) { e.Person = "" },
		"document": func(e *ledger.Entry) { e.Document = nil }, "time": func(e *ledger.Entry) { e.At = time.Time{} },
	} {
		m := &memory{}
		e := entry(1)
		spoil(&e)
		_, err := m.append(t.Context(), e)
		require.Equal(t, broker.KindInternal, broker.KindOf(err), name)
		require.Empty(t, m.rows)
	}
}
