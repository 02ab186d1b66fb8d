package receipt

import (
	"crypto/subtle"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Info is what a verified receipt says.
type Info struct {
	Index    int64
	Seq      int64 // of the record within its permit
	Leaf     Hash
	Kind     string
	TreeSize int64
	Origin   string // whose log: the name of the key that signed
}

// Verify checks a receipt offline: a pinned key signed the checkpoint, the
// checkpoint's tree holds the record at its index, and the record commits to
// the document. The document's own content is the caller's to read.
func Verify(receipt, document []byte, verifiers []note.Verifier) (Info, error) {
	r, err := DecodeReceipt(receipt)
	if err != nil {
		return Info{}, err
	}
	c, err := OpenCheckpoint([]byte(r.Checkpoint), verifiers)
	if err != nil {
		return Info{}, err
	}
	if c.Size != r.TreeSize {
		return Info{}, failAt(CodeCheckpoint, r.Index, "the checkpoint is of a tree of %d leaves, the proof of %d", c.Size, r.TreeSize)
	}
	leaf := r.Record.Leaf()
	proof := make(tlog.RecordProof, len(r.Proof))
	for i, h := range r.Proof {
		proof[i] = tlog.Hash(h)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, r.Index, tlog.RecordHash(leaf[:])); err != nil {
		return Info{}, failAt(CodeInclusion, r.Index, "inclusion proof: %w", err)
	}
	want := DocumentCommitment(r.Salt, document)
	if subtle.ConstantTimeCompare(want[:], r.Record.Document[:]) != 1 {
		return Info{}, failAt(CodeDocument, r.Index, "the record commits to another document")
	}
	return Info{
		Index: r.Index, Seq: r.Record.Seq, Leaf: leaf, Kind: r.Record.Kind, TreeSize: c.Size, Origin: c.Origin,
	}, nil
}
