package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

func newLedgerCommand(e *env) *cobra.Command {
	return group("ledger", "Check the log of decisions", newLedgerVerifyCommand(e))
}

type ledgerOptions struct{ key, old, save string }

func newLedgerVerifyCommand(e *env) *cobra.Command {
	var o ledgerOptions
	c := &cobra.Command{
		Use: "verify --key FILE", Short: "Recompute the log and compare it with what was signed", Args: args(),
		Long: help("Verify reads every leaf of the broker's log, recomputes its root, compares it with the signed checkpoint, and checks\n"+
			"your own records against the leaves and each permit's chain, and every decision that the broker shows of your project's\n"+
			"jobs against its leaf. Nothing that the broker says is believed but by the key that you pinned. With --old it also proves that the log still begins as it did when that checkpoint was saved.",
			"valico ledger verify --key ledger.pub", "valico ledger verify --key ledger.pub --old checkpoint-monday --save checkpoint-today"),
		RunE: func(c *cobra.Command, _ []string) error { return runLedgerVerify(c.Context(), o, e) },
	}
	c.Flags().StringVar(&o.key, "key", "", "file with the ledger's verifier key")
	c.Flags().StringVar(&o.old, "old", "", "checkpoint that was saved before")
	c.Flags().StringVar(&o.save, "save", "", "file to save the checkpoint to")
	_ = c.MarkFlagRequired("key") // the flag was made above
	return c
}

// verifiedLog is verify's answer.
type verifiedLog struct {
	Origin     string `json:"origin"`
	Size       int64  `json:"size"`
	Root       string `json:"root"`
	Own        int    `json:"own_records"`
	Permits    int    `json:"permits"`
	Decisions  int    `json:"decisions"`
	Consistent *int64 `json:"consistent_since_size,omitempty"`
}

func runLedgerVerify(ctx context.Context, o ledgerOptions, e *env) error {
	verifiers, err := readVerifier(o.key)
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	cp, err := c.Checkpoint(ctx)
	if err != nil {
		return err
	}
	head, err := receipt.OpenCheckpoint([]byte(cp.Checkpoint), verifiers)
	if err != nil {
		return broken(err)
	}
	leaves, err := readLeaves(ctx, c, head.Size)
	if err != nil {
		return err
	}
	var own []receipt.Own
	if e.opts.tokenFile != "" { // checkpoint and leaves are anybody's
		if own, err = readRecords(ctx, c, head.Size); err != nil {
			return err
		}
	}
	in := receipt.LogInput{Checkpoint: []byte(cp.Checkpoint), Verifiers: verifiers, Leaves: each(leaves), Own: own}
	info, err := receipt.VerifyLog(in)
	if err != nil {
		return broken(err)
	}
	out := verifiedLog{Origin: info.Origin, Size: info.Size, Root: info.Root.String(), Own: info.Own, Permits: info.Permits}
	if e.opts.tokenFile != "" {
		if out.Decisions, err = reconcile(ctx, c, own, head.Size); err != nil {
			return err
		}
	}
	if o.old != "" {
		if out.Consistent, err = consistent(o.old, verifiers, leaves); err != nil {
			return err
		}
	}
	if o.save != "" {
		if err := writeFile(o.save, []byte(cp.Checkpoint), 0o644); err != nil {
			return err
		}
	}
	return e.emit(out, func(w io.Writer) { printVerified(w, out, e.opts.tokenFile != "") })
}

func printVerified(w io.Writer, v verifiedLog, signedIn bool) {
	own, said := "not checked: not signed in", "not checked: not signed in"
	if signedIn {
		own = fmt.Sprintf("%d, in %d chain(s), whole", v.Own, v.Permits)
		said = fmt.Sprintf("%d, each as its leaf says", v.Decisions)
	}
	rows := [][]string{
		{"LOG", v.Origin},
		{"LEAVES", fmt.Sprint(v.Size)},
		{"ROOT", v.Root},
		{"YOUR RECORDS", own},
		{"DECISIONS", said},
	}
	if v.Consistent != nil {
		rows = append(rows, []string{"OLD CHECKPOINT", fmt.Sprintf("the log begins with its %d leaves, unchanged", *v.Consistent)})
	}
	table(w, append(rows, []string{"RESULT", "verified with the pinned key"})...)
}

func readVerifier(path string) ([]note.Verifier, error) {
	b, err := readFile("the ledger's key", path)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, invalid("key_invalid", "the ledger's key cannot be used", "a verifier key is NAME+HASH+KEY (C2SP signed-note)", path, "copy the key again")
	}
	return []note.Verifier{v}, nil
}

// readLeaves reads the leaves of a tree of that size.
func readLeaves(ctx context.Context, c *client.Client, size int64) ([]receipt.Hash, error) {
	var out []receipt.Hash
	for int64(len(out)) < size {
		page, err := c.Leaves(ctx, int64(len(out)), 4096)
		if err != nil {
			return nil, err
		}
		if len(page.Leaves) == 0 {
			break // VerifyLog tells that leaves are missing
		}
		out = append(out, page.Leaves...)
	}
	return out, nil
}

// readRecords reads the caller's records in a tree of that size.
func readRecords(ctx context.Context, c *client.Client, size int64) ([]receipt.Own, error) {
	var out []receipt.Own
	var from int64
	for {
		page, err := c.Records(ctx, from, 1024)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Records {
			if r.Index >= size {
				return out, nil
			}
			o := receipt.Own{Index: r.Index, Record: r.Record, Document: r.Document}
			if r.Salt != nil {
				o.Salt = *r.Salt
			}
			out = append(out, o)
		}
		if page.Done || page.Next <= from {
			return out, nil
		}
		from = page.Next
	}
}

func each(leaves []receipt.Hash) func(func(receipt.Hash, error) bool) {
	return func(yield func(receipt.Hash, error) bool) {
		for _, l := range leaves {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// consistent checks that the leaves begin with the tree of an old checkpoint.
func consistent(path string, verifiers []note.Verifier, leaves []receipt.Hash) (*int64, error) {
	b, err := readFile("the old checkpoint", path)
	if err != nil {
		return nil, err
	}
	info, err := receipt.VerifyLog(receipt.LogInput{Checkpoint: b, Verifiers: verifiers, Leaves: each(leaves)})
	if err != nil {
		return nil, broken(err)
	}
	return &info.Size, nil
}

// broken says that the log is not what was signed. The detail is shown: it is
// the evidence.
func broken(err error) error {
	return &broker.Error{
		Kind: broker.KindConflict, Code: string(receipt.CodeOf(err)), Message: "the log does not verify: " + err.Error(),
		Rule: "the leaves hash to a root that the pinned key signed", Help: "keep the checkpoints; they are the evidence",
		Who: "the permit authority and the broker's operator", Err: err,
	}
}
