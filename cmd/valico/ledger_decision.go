package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// reconcile holds what the broker says of the project's jobs to the log: each
// decision within a tree of that size is a leaf and says what the leaf commits
// to, and none that the caller asked for is kept back. Whoever alters the
// broker's record would have to alter what was signed.
func reconcile(ctx context.Context, c *client.Client, own []receipt.Own, size int64) (int, error) {
	me, err := c.WhoAmI(ctx)
	if err != nil {
		return 0, err
	}
	logged := make(map[int64]receipt.Own, len(own))
	for _, o := range own {
		logged[o.Index] = o
	}
	said, shown := 0, map[string]bool{}
	for cursor := ""; ; {
		page, err := c.Jobs(ctx, cursor, 200)
		if err != nil {
			return 0, err
		}
		for _, j := range page.Jobs {
			ds, err := c.Decisions(ctx, j.ID)
			if err != nil {
				return 0, err
			}
			for _, d := range ds.Decisions {
				shown[d.ID] = true
				if d.LedgerIndex >= size {
					continue // taken since the checkpoint
				}
				if err := inLog(j, d, logged); err != nil {
					return 0, err
				}
				said++
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	return said, keptBack(me.ID, own, shown)
}

// inLog compares a decision with its leaf. A leaf that the caller may not open
// shows that there is one.
func inLog(j wire.Job, d wire.Decision, logged map[int64]receipt.Own) error {
	o, ok := logged[d.LedgerIndex]
	if !ok || o.Record.Kind != d.Kind {
		return unlogged("decision_not_logged", d.ID, "it is not the leaf %d of your records", d.LedgerIndex)
	}
	if o.Document == nil {
		return nil
	}
	doc, err := receipt.Decode(o.Document)
	if err != nil {
		return broken(err)
	}
	for _, f := range []struct{ name, have, want string }{
		{"decision", d.ID, doc.Decision},
		{"job", j.ID, doc.Job},
		{"attempt", d.Attempt, doc.Attempt},
		{"submitter", j.Submitter, doc.Submitter},
		{"kind", d.Kind, doc.Kind},
		{"verdict", d.Verdict, doc.Verdict},
		{"permit", d.Permit, doc.Permit},
		{"spec", j.SpecDigest, doc.Spec},
		{"policy", d.Policy, doc.Policy},
	} {
		if f.have != f.want {
			return unlogged("decision_altered", d.ID, "leaf %d says %s %q, the broker %q", d.LedgerIndex, f.name, f.want, f.have)
		}
	}
	same := func(a wire.Reason, b receipt.Reason) bool {
		return a.Code == b.Code && a.Basis == b.Basis && a.Path == b.Path && maps.Equal(a.Params, b.Params)
	}
	if !slices.EqualFunc(d.Reasons, doc.Reasons, same) {
		return unlogged("decision_altered", d.ID, "leaf %d gives other reasons", d.LedgerIndex)
	}
	return nil
}

// keptBack finds a decision on a job of the caller's own that is in the log and
// that the broker does not show.
func keptBack(me string, own []receipt.Own, shown map[string]bool) error {
	for _, o := range own {
		if o.Document == nil || (o.Record.Kind != broker.DecisionAdmission && o.Record.Kind != broker.DecisionClearance) {
			continue
		}
		doc, err := receipt.Decode(o.Document)
		if err != nil {
			return broken(err)
		}
		if doc.Submitter == me && !shown[doc.Decision] {
			return unlogged("decision_kept_back", doc.Decision, "leaf %d is a decision on job %s that the broker does not show", o.Index, doc.Job)
		}
	}
	return nil
}

func unlogged(code, decision, format string, args ...any) error {
	return &broker.Error{
		Kind: broker.KindConflict, Code: code, Message: "the broker and its log disagree: " + fmt.Sprintf(format, args...), Value: decision,
		Rule: "each decision is a leaf of the log and says what the leaf commits to",
		Help: "keep the checkpoint and this message; they are the evidence", Who: "the permit authority and the broker's operator",
	}
}
