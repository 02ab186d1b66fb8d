package receipt

import (
	"encoding/base64"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a tree head: the text that a ledger signs (C2SP
// tlog-checkpoint, without extension lines).
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// Text is the signed text of the checkpoint.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + c.Root.String() + "\n"
}

// ParseCheckpoint reads the text of a checkpoint.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return Checkpoint{}, fail(CodeCheckpoint, "a checkpoint is an origin, a size and a root, each on its line")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fail(CodeCheckpoint, "size %q is not a decimal number", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fail(CodeCheckpoint, "root %q is not a hash in base64", lines[2])
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}
	if c.Text() != text {
		return Checkpoint{}, fail(CodeCheckpoint, "not written as a checkpoint is")
	}
	return c, nil
}

// OpenCheckpoint verifies a signed checkpoint: one of the verifiers must have
// signed it under the name that is its origin. Signatures of others, witnesses
// for example, are let be.
func OpenCheckpoint(signed []byte, verifiers []note.Verifier) (Checkpoint, error) {
	if len(verifiers) == 0 {
		return Checkpoint{}, fail(CodeSignature, "no ledger key is pinned")
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, fail(CodeSignature, "open: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, s := range n.Sigs {
		if s.Name == c.Origin {
			return c, nil
		}
	}
	return Checkpoint{}, fail(CodeSignature, "signed by another than its origin %q", c.Origin)
}
