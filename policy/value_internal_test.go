package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"
)

// The engine decides on what readValue makes of the bytes, and a replay by any
// other reader of theirs must see the same.
func TestInputIsReadAsTheEnginesOwnReaderReadsIt(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	docs := [][]byte{
		encode(t, admissionInput()), encode(t, basedInput()), encode(t, realInput()), encode(t, manyInput(50)),
		[]byte(`{}`), []byte(`[]`), []byte(`null`), []byte(`[null,true,false,"",0,-1,1.50,1e300,123456789012345678901]`),
		[]byte(`{"b":{"a":[{}]},"a":"\u00e9\n\ud83d\ude00","":[[]]}`),
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		docs = append(docs, b)
	}
	for _, b := range docs {
		want, err := ast.ValueFromReader(bytes.NewReader(b))
		require.NoError(t, err)
		got, err := readValue(b)
		require.NoError(t, err, "%.100s", b)
		require.Zero(t, want.Compare(got), "%.100s", b)
		require.Equal(t, want.Hash(), got.Hash(), "%.100s", b)
		require.Equal(t, want.String(), got.String())
	}
}

func TestWhatIsNoOneDocumentIsNotRead(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		``, `{`, `[1`, `[1,]`, `{"a"}`, `{"a":1,}`, `{"a":1} {}`, `{"a":1}x`, `{"a":1,"a":2}`, "\"\xff\"", `nul`, `{1:2}`, `]`,
		string(bytes.Repeat([]byte("["), 100)), string(bytes.Repeat([]byte(`{"a":`), 100)),
	} {
		_, err := readValue([]byte(s))
		require.Error(t, err, "%q", s)
	}
}

// FuzzReadValue: what is read is what the engine's own reader reads.
func FuzzReadValue(f *testing.F) {
	f.Add(encode(f, clearanceInput()))
	f.Add([]byte(`[{"a":1.0e5,"b":[]},"\u0000"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readValue(b)
		if err != nil {
			return
		}
		want, err := ast.ValueFromReader(bytes.NewReader(b))
		require.NoError(t, err)
		require.Zero(t, want.Compare(got))
	})
}

// BenchmarkReadValue compares the two readers.
func BenchmarkReadValue(b *testing.B) {
	in := encode(b, clearanceInput())
	b.Run("reader=engine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := ast.ValueFromReader(bytes.NewReader(in))
			require.NoError(b, err)
		}
	})
	b.Run("reader=ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := readValue(in)
			require.NoError(b, err)
		}
	})
}
