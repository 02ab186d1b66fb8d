package receipt

import (
	"cmp"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Own is a record that a party holds, with what opens it. Document may be nil
// where the retention rules erased it; its commitment is then not checked.
type Own struct {
	Index    int64
	Record   Record
	Salt     Hash
	Document []byte
}

// LogInput is what VerifyLog looks at.
type LogInput struct {
	Checkpoint []byte
	Verifiers  []note.Verifier
	// Leaves are all leaves from index 0 on; those after the checkpoint's size
	// are not read.
	Leaves iter.Seq2[Hash, error]
	// Reference, when set, reads the tree of the checkpoint from elsewhere, for
	// example tiles through tlog.TileHashReader: with it the first leaf that
	// differs is named instead of the root alone.
	Reference tlog.HashReader
	// Own are records that a party holds: all that exist of each permit in them.
	Own []Own
}

// LogInfo is what a verified log is.
type LogInfo struct {
	Origin  string
	Size    int64
	Root    Hash
	Own     int // records of the party that were checked
	Permits int // permits that those belong to
}

// VerifyLog recomputes a log's root from its leaves and compares it with the
// checkpoint; then it checks a party's records against the leaves and each
// permit's chain. The error names the first leaf that differs.
func VerifyLog(in LogInput) (LogInfo, error) {
	c, err := OpenCheckpoint(in.Checkpoint, in.Verifiers)
	if err != nil {
		return LogInfo{}, err
	}
	own := slices.SortedFunc(slices.Values(in.Own), func(a, b Own) int { return cmp.Compare(a.Index, b.Index) })
	root, err := replay(in, c, own)
	if err != nil {
		return LogInfo{}, err
	}
	if root != c.Root {
		return LogInfo{}, fail(CodeRoot, "the %d leaves hash to %s, the checkpoint says %s", c.Size, root, c.Root)
	}
	permits, err := chains(own, c.Size)
	if err != nil {
		return LogInfo{}, err
	}
	return LogInfo{Origin: c.Origin, Size: c.Size, Root: Hash(c.Root), Own: len(own), Permits: permits}, nil
}

// replay reads the leaves once, compares each with the reference and with the
// party's record of that index, and returns the root.
func replay(in LogInput, c Checkpoint, own []Own) (tlog.Hash, error) {
	var t treeHead
	for leaf, err := range in.Leaves {
		if err != nil {
			return tlog.Hash{}, failAt(CodeLeaf, t.size, "read leaf: %w", err)
		}
		if t.size == c.Size {
			break
		}
		h := tlog.RecordHash(leaf[:])
		if err := compare(in.Reference, t.size, h); err != nil {
			return tlog.Hash{}, err
		}
		for len(own) > 0 && own[0].Index <= t.size {
			if err := open(own[0], t.size, leaf); err != nil {
				return tlog.Hash{}, err
			}
			own = own[1:]
		}
		t.add(h)
	}
	if t.size != c.Size {
		return tlog.Hash{}, failAt(CodeLeaf, t.size, "the checkpoint is of %d leaves, only %d were given", c.Size, t.size)
	}
	return t.root()
}

func compare(ref tlog.HashReader, index int64, h tlog.Hash) error {
	if ref == nil {
		return nil
	}
	want, err := ref.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return failAt(CodeLeaf, index, "read the reference: %w", err)
	}
	if len(want) != 1 || want[0] != h {
		return failAt(CodeLeaf, index, "differs from the reference")
	}
	return nil
}

func open(o Own, index int64, leaf Hash) error {
	if o.Index != index {
		return failAt(CodeLeaf, o.Index, "there is no leaf of that index")
	}
	if Hash(o.Record.Leaf()) != leaf {
		return failAt(CodeLeaf, index, "is not the leaf of the record held")
	}
	if o.Document != nil && DocumentCommitment(o.Salt, o.Document) != o.Record.Document {
		return failAt(CodeDocument, index, "the record commits to another document than the one held")
	}
	return nil
}

// chains checks that each permit's records are numbered 1, 2, 3, … and that
// each names the one before it.
func chains(own []Own, size int64) (int, error) {
	type head struct {
		seq  int64
		leaf Hash
	}
	heads := map[Hash]head{}
	for _, o := range own {
		if o.Index >= size {
			return 0, failAt(CodeLeaf, o.Index, "the record is newer than the checkpoint")
		}
		h := heads[o.Record.Permit]
		if o.Record.Seq != h.seq+1 {
			return 0, failAt(CodeChain, o.Index, "number %d follows number %d of its permit", o.Record.Seq, h.seq)
		}
		if o.Record.Prev != h.leaf {
			return 0, failAt(CodeChain, o.Index, "does not name the leaf before it")
		}
		heads[o.Record.Permit] = head{seq: o.Record.Seq, leaf: o.Record.Leaf()}
	}
	return len(heads), nil
}

// treeHead adds leaf hashes to a tree and keeps the roots of its complete
// subtrees only, largest first: as many as size has bits set.
type treeHead struct {
	size  int64
	peaks []tlog.Hash
}

func (t *treeHead) add(h tlog.Hash) {
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peaks) - 1
		h = tlog.NodeHash(t.peaks[last], h)
		t.peaks = t.peaks[:last]
	}
	t.peaks = append(t.peaks, h)
	t.size++
}

func (t *treeHead) root() (tlog.Hash, error) {
	if t.size == 0 {
		return tlog.TreeHash(0, nil)
	}
	h := t.peaks[len(t.peaks)-1]
	for _, p := range slices.Backward(t.peaks[:len(t.peaks)-1]) {
		h = tlog.NodeHash(p, h)
	}
	return h, nil
}
