package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

func (s *Server) ledger() {
	handle(s, op{
		method: http.MethodGet, path: "/v1/ledger/checkpoint", id: "ledger-checkpoint", summary: "The signed checkpoint over all leaves", rule: anyone,
		example: wire.Checkpoint{Checkpoint: "broker.example/ledger\n1\n…\n\n— broker.example/ledger …\n"},
	}, s.checkpoint)
	handle(s, op{
		method: http.MethodGet, path: "/v1/ledger/leaves", id: "ledger-leaves", summary: "Leaves of the log; they name nobody", rule: anyone,
		example: wire.Leaves{From: 0, Leaves: []receipt.Hash{{}}},
	}, s.leaves)
	handle(s, op{
		method: http.MethodGet, path: "/v1/ledger/records", id: "ledger-records",
		summary: "The tenant's records; documents come with what the caller asked for or did, all of them to operators", rule: signedIn,
		example: wire.Records{Records: []wire.Record{}, Next: 0, Done: true},
	}, s.records)
}

func (s *Server) checkpoint(ctx context.Context, _ *struct{}) (*body[wire.Checkpoint], error) {
	b, err := s.d.Ledger.Checkpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	return &body[wire.Checkpoint]{wire.Checkpoint{Checkpoint: string(b)}}, nil
}

type ledgerInput struct {
	From  int64 `query:"from" minimum:"0" doc:"Index to begin at."`
	Limit int   `query:"limit" minimum:"1" maximum:"4096" default:"1024"`
}

func (s *Server) leaves(ctx context.Context, in *ledgerInput) (*body[wire.Leaves], error) {
	ls, err := s.d.Ledger.Leaves(ctx, in.From, in.Limit)
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	return &body[wire.Leaves]{wire.Leaves{From: in.From, Leaves: append([]receipt.Hash{}, ls...)}}, nil
}

func (s *Server) records(ctx context.Context, in *ledgerInput) (*body[wire.Records], error) {
	p := caller(ctx)
	rows, err := s.d.Ledger.Records(ctx, p.Tenant, in.From, in.Limit)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	out := wire.Records{Records: []wire.Record{}, Next: in.From, Done: len(rows) < in.Limit}
	for _, r := range rows {
		out.Records = append(out.Records, record(r, p))
		out.Next = r.Index + 1
	}
	return &body[wire.Records]{out}, nil
}

// record keeps what another person asked for to that person and the operators;
// the commitments that stay verify the chain all the same.
func record(r ledger.Row, p broker.Person) wire.Record {
	w := wire.Record{Index: r.Index, Record: r.Record}
	if r.Entry.Person == p.ID || isOperator(p) {
		w.Salt, w.Document = &r.Salt, r.Entry.Document
	}
	return w
}
