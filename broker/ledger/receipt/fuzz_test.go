package receipt_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// FuzzDecode: whatever is read is written back byte for byte.
func FuzzDecode(f *testing.F) {
	b, err := receipt.Encode(document())
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(`{"schema":"valico-decision/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := receipt.Decode(b)
		if err != nil {
			require.Equal(t, receipt.CodeMalformed, receipt.CodeOf(err))
			return
		}
		again, err := receipt.Encode(d)
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

// FuzzVerify: what is not the receipt that was made never verifies, and nothing
// panics.
func FuzzVerify(f *testing.F) {
	b := newBench(f, 5)
	r := b.receipt(f, 3)
	good, err := receipt.EncodeReceipt(r)
	require.NoError(f, err)
	f.Add(good)
	r.Index = 2
	bad, err := json.Marshal(r)
	require.NoError(f, err)
	f.Add(bad)
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := receipt.Verify(in, b.own[3].Document, b.verifiers)
		if err == nil {
			got, err := receipt.DecodeReceipt(in)
			require.NoError(t, err)
			require.Equal(t, b.own[3].Record, got.Record)
			require.EqualValues(t, 3, got.Index)
		}
	})
}

// FuzzCheckpoint: a text that is read is the text that is written.
func FuzzCheckpoint(f *testing.F) {
	f.Add(origin + "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, in string) {
		c, err := receipt.ParseCheckpoint(in)
		if err == nil {
			require.Equal(t, in, c.Text())
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	x := newBench(b, 1000)
	enc, err := receipt.EncodeReceipt(x.receipt(b, 500))
	require.NoError(b, err)
	for b.Loop() {
		if _, err := receipt.Verify(enc, x.own[500].Document, x.verifiers); err != nil {
			b.Fatal(err)
		}
	}
}
