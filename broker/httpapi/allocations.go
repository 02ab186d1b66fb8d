package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) allocations() {
	handle(s, op{
		method: http.MethodGet, path: "/v1/allocations", id: "list-allocations", summary: "List the project's GPU time", rule: signedIn,
		example: wire.Allocations{Allocations: []wire.Allocation{{
			ID: "alc_0123456789abcdefghjkmnpqrs", SiteID: "site_0123456789abcdefghjkmnpqrs", Site: "local", AccessMode: "playground",
			GPUHours: 100, Reserved: 0.5, Used: 12, Available: 87.5, ValidFrom: exampleTime(), ValidUntil: exampleTime().AddDate(1, 0, 0),
		}}},
	}, s.listAllocations)
}

func (s *Server) listAllocations(ctx context.Context, _ *struct{}) (*body[wire.Allocations], error) {
	as, err := s.d.Store.Allocations(ctx, caller(ctx).Project)
	if err != nil {
		return nil, fmt.Errorf("list allocations: %w", err)
	}
	names, err := s.siteNames(ctx)
	if err != nil {
		return nil, err
	}
	out := wire.Allocations{Allocations: []wire.Allocation{}}
	for _, a := range as {
		out.Allocations = append(out.Allocations, wire.NewAllocation(a, names[a.Site]))
	}
	return &body[wire.Allocations]{out}, nil
}
