package receipt_test

import (
	"crypto/rand"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

const origin = "ledger.example.org/valico"

// bench is a log of n leaves of two permits with its key.
type bench struct {
	signer    note.Signer
	verifiers []note.Verifier
	hashes    []tlog.Hash
	own       []receipt.Own
}

func (b *bench) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, b.hashes[i])
	}
	return out, nil
}

func key(tb testing.TB, name string) (note.Signer, note.Verifier) {
	tb.Helper()
	s, v, err := note.GenerateKey(rand.Reader, name)
	require.NoError(tb, err)
	signer, err := note.NewSigner(s)
	require.NoError(tb, err)
	verifier, err := note.NewVerifier(v)
	require.NoError(tb, err)
	return signer, verifier
}

func newBench(tb testing.TB, n int) *bench {
	tb.Helper()
	b := &bench{}
	s, v := key(tb, origin)
	b.signer, b.verifiers = s, []note.Verifier{v}
	heads := map[int]receipt.Own{}
	for i := range n {
		k := receipt.Hash{byte(i % 2), 1}
		doc := fmt.Appendf(nil, "document %d", i)
		last := heads[i%2]
		rec := receipt.Record{
			Version: 1, Kind: "clearance", At: receipt.Stamp(time.Unix(int64(i), 0)),
			Tenant: receipt.TenantCommitment(k, "t"), Permit: receipt.PermitCommitment(k, "p"),
			Pseudonym: receipt.Pseudonym(k, "ada"), Seq: last.Record.Seq + 1, Document: receipt.DocumentCommitment(receipt.Hash{9}, doc),
		}
		if rec.Seq > 1 {
			rec.Prev = last.Record.Leaf()
		}
		o := receipt.Own{Index: int64(i), Record: rec, Salt: receipt.Hash{9}, Document: doc}
		heads[i%2] = o
		b.add(tb, o)
	}
	return b
}

func (b *bench) add(tb testing.TB, o receipt.Own) {
	tb.Helper()
	leaf := o.Record.Leaf()
	hs, err := tlog.StoredHashes(int64(len(b.own)), leaf[:], b)
	require.NoError(tb, err)
	b.hashes = append(b.hashes, hs...)
	b.own = append(b.own, o)
}

func (b *bench) checkpoint(tb testing.TB, signer note.Signer, origin string, size int64) []byte {
	tb.Helper()
	root, err := tlog.TreeHash(size, b)
	require.NoError(tb, err)
	out, err := note.Sign(&note.Note{Text: receipt.Checkpoint{Origin: origin, Size: size, Root: root}.Text()}, signer)
	require.NoError(tb, err)
	return out
}

func (b *bench) receipt(tb testing.TB, index int64) receipt.Receipt {
	tb.Helper()
	size := int64(len(b.own))
	p, err := tlog.ProveRecord(size, index, b)
	require.NoError(tb, err)
	r := receipt.Receipt{
		Schema: receipt.ReceiptSchema, Record: b.own[index].Record, Salt: b.own[index].Salt, Index: index,
		TreeSize: size, Checkpoint: string(b.checkpoint(tb, b.signer, origin, size)),
	}
	for _, h := range p {
		r.Proof = append(r.Proof, receipt.Hash(h))
	}
	return r
}

func (b *bench) leaves() iter.Seq2[receipt.Hash, error] {
	return func(yield func(receipt.Hash, error) bool) {
		for _, o := range b.own {
			if !yield(o.Record.Leaf(), nil) {
				return
			}
		}
	}
}

func TestEveryLeafOfEveryTreeSizeHasAReceiptThatVerifies(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		b := newBench(t, n+1)
		for i := range b.own {
			enc, err := receipt.EncodeReceipt(b.receipt(t, int64(i)))
			require.NoError(t, err)
			info, err := receipt.Verify(enc, b.own[i].Document, b.verifiers)
			require.NoError(t, err)
			require.Equal(t, receipt.Info{
				Index: int64(i), Seq: b.own[i].Record.Seq, Leaf: b.own[i].Record.Leaf(), Kind: "clearance",
				TreeSize: int64(n + 1), Origin: origin,
			}, info)
		}
	}
}

func TestAReceiptBrokenInOnePlaceIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	b := newBench(t, 7)
	stranger, strange := key(t, origin)
	other, otherV := key(t, "another.example.org/log")
	for name, c := range map[string]struct {
		spoil     func(*receipt.Receipt)
		verifiers []note.Verifier
		document  string
		code      receipt.Code
	}{
		"a key that is not pinned":       {verifiers: []note.Verifier{strange}, code: receipt.CodeSignature},
		"no key pinned":                  {verifiers: []note.Verifier{}, code: receipt.CodeSignature},
		"signed by a stranger":           {spoil: func(r *receipt.Receipt) { r.Checkpoint = string(b.checkpoint(t, stranger, origin, 7)) }, code: receipt.CodeSignature},
		"signed under another's origin":  {spoil: func(r *receipt.Receipt) { r.Checkpoint = string(b.checkpoint(t, other, origin, 7)) }, verifiers: append(b.verifiers, otherV), code: receipt.CodeSignature},
		"a checkpoint changed":           {spoil: func(r *receipt.Receipt) { r.Checkpoint = strings.Replace(r.Checkpoint, "\n7\n", "\n8\n", 1) }, code: receipt.CodeSignature},
		"a checkpoint of another size":   {spoil: func(r *receipt.Receipt) { r.Checkpoint = string(b.checkpoint(t, b.signer, origin, 6)) }, code: receipt.CodeCheckpoint},
		"not a checkpoint":               {spoil: func(r *receipt.Receipt) { r.Checkpoint = sign(t, b.signer, origin+"\n7\n") }, code: receipt.CodeCheckpoint},
		"another index":                  {spoil: func(r *receipt.Receipt) { r.Index = 2 }, code: receipt.CodeInclusion},
		"a proof without its last hash":  {spoil: func(r *receipt.Receipt) { r.Proof = r.Proof[:len(r.Proof)-1] }, code: receipt.CodeInclusion},
		"a proof with a hash too many":   {spoil: func(r *receipt.Receipt) { r.Proof = append(r.Proof, receipt.Hash{}) }, code: receipt.CodeInclusion},
		"a proof with a bit flipped":     {spoil: func(r *receipt.Receipt) { r.Proof[1][3] ^= 1 }, code: receipt.CodeInclusion},
		"another record":                 {spoil: func(r *receipt.Receipt) { r.Record.Pseudonym[0] ^= 1 }, code: receipt.CodeInclusion},
		"another document in the record": {spoil: func(r *receipt.Receipt) { r.Record.Document[0] ^= 1 }, code: receipt.CodeInclusion},
		"another salt":                   {spoil: func(r *receipt.Receipt) { r.Salt[0] ^= 1 }, code: receipt.CodeDocument},
		"another document":               {document: "document 4", code: receipt.CodeDocument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := b.receipt(t, 3)
			if c.spoil != nil {
				c.spoil(&r)
			}
			enc, err := receipt.EncodeReceipt(r)
			require.NoError(t, err)
			doc, vs := "document 3", b.verifiers
			if c.document != "" {
				doc = c.document
			}
			if c.verifiers != nil {
				vs = c.verifiers
			}
			_, err = receipt.Verify(enc, []byte(doc), vs)
			require.Equal(t, c.code, receipt.CodeOf(err), "%v", err)
		})
	}
}

func sign(t *testing.T, s note.Signer, text string) string {
	t.Helper()
	b, err := note.Sign(&note.Note{Text: text}, s)
	require.NoError(t, err)
	return string(b)
}

func TestOnlyTheOneEncodingIsRead(t *testing.T) {
	t.Parallel()
	b := newBench(t, 3)
	enc, err := receipt.EncodeReceipt(b.receipt(t, 1))
	require.NoError(t, err)
	s := string(enc)
	for name, bad := range map[string]string{
		"a space":           strings.Replace(s, ":", ": ", 1),
		"a line break":      s + "\n",
		"a second value":    s + "{}",
		"an unknown member": strings.Replace(s, `{"schema"`, `{"x":1,"schema"`, 1),
		"a member twice":    strings.Replace(s, `{"schema"`, `{"schema":"x","schema"`, 1),
		"another case":      strings.Replace(s, `"index"`, `"Index"`, 1),
		"a null list":       strings.Replace(s, `"proof":[`, `"proof":null,"x":[`, 1),
		"upper-case digits": strings.Replace(s, `"salt":"09`, `"salt":"0A`, 1) + "",
		"an escape":         strings.Replace(s, `valico-receipt`, `valico\u002dreceipt`, 1),
		"a float":           strings.Replace(s, `"index":1`, `"index":1.0`, 1),
		"nothing":           "",
		"null":              "null",
		"another schema":    strings.Replace(s, "valico-receipt/v1", "valico-receipt/v2", 1),
		"an index beyond":   strings.Replace(s, `"index":1`, `"index":3`, 1),
		"sequence zero":     strings.Replace(s, `"seq":1`, `"seq":0`, 1),
		"version two":       strings.Replace(s, `"version":1`, `"version":2`, 1),
		"another time form": strings.Replace(s, `.000000Z`, `Z`, 1),
	} {
		_, err := receipt.DecodeReceipt([]byte(bad))
		require.Equal(t, receipt.CodeMalformed, receipt.CodeOf(err), name)
	}
	got, err := receipt.DecodeReceipt(enc)
	require.NoError(t, err)
	require.Equal(t, b.receipt(t, 1), got)
}

func document() receipt.Document {
	return receipt.Document{
		Schema: receipt.DocumentSchema, Kind: "clearance", Decision: "dec_1", Verdict: "deny", Submitter: "ada@example.org",
		At:      receipt.Stamp(time.Unix(1, 0)),
		Reasons: []receipt.Reason{{Code: "purpose", Basis: "contract", Params: map[string]string{"b": "<&>", "a": "\u2028\ufffd"}}, {Code: "x"}},
		Limits:  receipt.Limits{Nodes: 1, WalltimeSeconds: 60},
	}
}

func TestADocumentSurvivesItsEncoding(t *testing.T) {
	t.Parallel()
	b, err := receipt.Encode(document())
	require.NoError(t, err)
	d, err := receipt.Decode(b)
	require.NoError(t, err)
	want := document()
	want.Reasons[1].Params = map[string]string{}
	require.Equal(t, want, d)
	empty := document()
	empty.Reasons = nil
	b, err = receipt.Encode(empty)
	require.NoError(t, err)
	require.Contains(t, string(b), `"reasons":[]`)
	_, err = receipt.Decode([]byte(strings.Replace(string(b), `"reasons":[]`, `"reasons":null`, 1)))
	require.Equal(t, receipt.CodeMalformed, receipt.CodeOf(err))
}

func TestTextThatIsNotUTF8HasNoEncoding(t *testing.T) {
	t.Parallel()
	d := document()
	d.Submitter = "ada\xff"
	_, err := receipt.Encode(d)
	require.Equal(t, receipt.CodeMalformed, receipt.CodeOf(err))
	d.Submitter = `ada\ufffd` // those six characters
	b, err := receipt.Encode(d)
	require.NoError(t, err)
	back, err := receipt.Decode(b)
	require.NoError(t, err)
	require.Equal(t, d.Submitter, back.Submitter)
}

func TestALogThatHoldsVerifies(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		b := newBench(t, n)
		info, err := receipt.VerifyLog(receipt.LogInput{
			Checkpoint: b.checkpoint(t, b.signer, origin, int64(n)), Verifiers: b.verifiers, Leaves: b.leaves(), Own: b.own, Reference: b,
		})
		require.NoError(t, err)
		require.EqualValues(t, n, info.Size)
		require.Equal(t, n, info.Own)
		require.Equal(t, min(n, 2), info.Permits)
	}
}

func TestAVerifierNamesTheFirstLeafThatDiffers(t *testing.T) {
	t.Parallel()
	const n = 11
	type attack struct {
		leaves func([]receipt.Hash) []receipt.Hash
		own    func([]receipt.Own) []receipt.Own
		noRef  bool
		code   receipt.Code
		index  int64
	}
	for name, a := range map[string]attack{
		"flipped":                   {leaves: func(l []receipt.Hash) []receipt.Hash { l[6][0] ^= 1; return l }, code: receipt.CodeLeaf, index: 6},
		"flipped, root alone":       {leaves: func(l []receipt.Hash) []receipt.Hash { l[6][0] ^= 1; return l }, own: none, noRef: true, code: receipt.CodeRoot, index: -1},
		"flipped, a record held":    {leaves: func(l []receipt.Hash) []receipt.Hash { l[6][0] ^= 1; return l }, noRef: true, code: receipt.CodeLeaf, index: 6},
		"dropped":                   {leaves: func(l []receipt.Hash) []receipt.Hash { return slices.Delete(l, 4, 5) }, code: receipt.CodeLeaf, index: 4},
		"swapped":                   {leaves: func(l []receipt.Hash) []receipt.Hash { l[2], l[3] = l[3], l[2]; return l }, code: receipt.CodeLeaf, index: 2},
		"cut off":                   {leaves: func(l []receipt.Hash) []receipt.Hash { return l[:9] }, code: receipt.CodeLeaf, index: 9},
		"a record missing":          {own: func(o []receipt.Own) []receipt.Own { return slices.Delete(o, 4, 5) }, code: receipt.CodeChain, index: 6},
		"a record twice":            {own: func(o []receipt.Own) []receipt.Own { return append(o, o[3]) }, code: receipt.CodeChain, index: 3},
		"a record of another leaf":  {own: func(o []receipt.Own) []receipt.Own { o[5].Record.Kind = "x"; return o }, code: receipt.CodeLeaf, index: 5},
		"another document":          {own: func(o []receipt.Own) []receipt.Own { o[5].Document = []byte("x"); return o }, code: receipt.CodeDocument, index: 5},
		"a document that is erased": {own: func(o []receipt.Own) []receipt.Own { o[5].Document = nil; return o }},
		"a record beyond":           {own: func(o []receipt.Own) []receipt.Own { o[10].Index = 11; return o }, code: receipt.CodeLeaf, index: 11},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, n)
			in := receipt.LogInput{Checkpoint: b.checkpoint(t, b.signer, origin, n), Verifiers: b.verifiers, Own: slices.Clone(b.own), Reference: b}
			var ls []receipt.Hash
			for l := range b.leaves() {
				ls = append(ls, l)
			}
			if a.leaves != nil {
				ls = a.leaves(ls)
			}
			if a.own != nil {
				in.Own = a.own(in.Own)
			}
			if a.noRef {
				in.Reference = nil
			}
			in.Leaves = func(yield func(receipt.Hash, error) bool) {
				for _, l := range ls {
					if !yield(l, nil) {
						return
					}
				}
			}
			_, err := receipt.VerifyLog(in)
			if a.code == "" {
				require.NoError(t, err)
				return
			}
			var e *receipt.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, a.code, e.Code, "%v", err)
			require.Equal(t, a.index, e.Index, "%v", err)
		})
	}
}

func none([]receipt.Own) []receipt.Own { return nil }

func TestACommitmentDependsOnItsKeyAndItsPurpose(t *testing.T) {
	t.Parallel()
	seen := map[receipt.Hash]bool{}
	for _, k := range []receipt.Hash{{1}, {2}} {
		for _, h := range []receipt.Hash{receipt.Pseudonym(k, "a"), receipt.PermitCommitment(k, "a"), receipt.TenantCommitment(k, "a"), receipt.Pseudonym(k, "b")} {
			require.False(t, seen[h])
			seen[h] = true
		}
	}
}
