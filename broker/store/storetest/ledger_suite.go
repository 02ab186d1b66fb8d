package storetest

import (
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// NewLog makes a log over a store with a new key.
func NewLog(tb testing.TB, s ledger.Store) (*ledger.Log, []note.Verifier) {
	tb.Helper()
	secret, vkey, err := ledger.GenerateKey("ledger.example.org/valico")
	require.NoError(tb, err)
	signer, err := note.NewSigner(string(secret))
	require.NoError(tb, err)
	v, err := note.NewVerifier(vkey)
	require.NoError(tb, err)
	l, err := ledger.NewLog(s, signer, signer.Name(), time.Now)
	require.NoError(tb, err)
	return l, []note.Verifier{v}
}

func receiptsVerify(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	log, pinned := NewLog(t, s)
	var g errgroup.Group
	var mu sync.Mutex
	sizes := map[int64]bool{}
	for range 40 {
		r := f.Admission(t, broker.VerdictAllow, 1)
		g.Go(func() error {
			_, dec, err := s.Admit(t.Context(), r)
			if err != nil {
				return err
			}
			b, err := log.Receipt(t.Context(), dec.LedgerIndex)
			if err != nil {
				return err
			}
			info, err := receipt.Verify(b, dec.Document, pinned)
			mu.Lock()
			defer mu.Unlock()
			sizes[info.TreeSize] = true
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.LessOrEqual(t, len(sizes), 40)
	_, err := log.Receipt(t.Context(), 40)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func checkpointRefused(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 100)
	ctx := t.Context()
	_, err := s.NewestCheckpoint(ctx)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
	f.Admit(t, 1)
	cp := ledger.Signed{Size: 1, Root: [32]byte{1}, Note: []byte("one"), At: f.now}
	got, err := s.SaveCheckpoint(ctx, cp)
	require.NoError(t, err)
	require.Equal(t, cp, got)
	twin := cp
	twin.Note = []byte("two")
	got, err = s.SaveCheckpoint(ctx, twin)
	require.NoError(t, err)
	require.Equal(t, cp, got, "the first stays")
	fork := cp
	fork.Root = [32]byte{2}
	_, err = s.SaveCheckpoint(ctx, fork)
	require.Equal(t, "checkpoint_fork", broker.CodeOf(err))
	ahead := cp
	ahead.Size = 2
	_, err = s.SaveCheckpoint(ctx, ahead)
	require.Equal(t, "checkpoint_ahead", broker.CodeOf(err))
	newest, err := s.NewestCheckpoint(ctx)
	require.NoError(t, err)
	require.Equal(t, cp, newest)
}

func partyRecordsChain(t *testing.T, s Store) {
	t.Helper()
	f := Fill(t, s, 1000)
	ctx := t.Context()
	log, pinned := NewLog(t, s)
	for range 9 {
		_, a := f.Admit(t, 1)
		f.ToReady(t, a.ID)
	}
	cp, err := log.Checkpoint(ctx)
	require.NoError(t, err)
	rows, err := log.Records(ctx, f.Tenant, 0, 100)
	require.NoError(t, err)
	require.Len(t, rows, 18)
	in := receipt.LogInput{Checkpoint: cp, Verifiers: pinned, Leaves: leaves(t, log)}
	for _, r := range rows {
		require.Equal(t, receipt.Pseudonym(r.Key, string(f.Person.ID)), r.Record.Pseudonym)
		in.Own = append(in.Own, receipt.Own{Index: r.Index, Record: r.Record, Salt: r.Salt, Document: r.Entry.Document})
	}
	info, err := receipt.VerifyLog(in)
	require.NoError(t, err)
	require.EqualValues(t, 18, info.Size)
	require.Equal(t, 1, info.Permits)
}

func leaves(t *testing.T, log *ledger.Log) iter.Seq2[receipt.Hash, error] {
	t.Helper()
	return func(yield func(receipt.Hash, error) bool) {
		for from := int64(0); ; {
			hs, err := log.Leaves(t.Context(), from, 5)
			if err != nil {
				yield(receipt.Hash{}, err)
				return
			}
			if len(hs) == 0 {
				return
			}
			for _, h := range hs {
				if !yield(h, nil) {
					return
				}
			}
			from += int64(len(hs))
		}
	}
}
