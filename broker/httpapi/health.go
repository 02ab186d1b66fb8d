package httpapi

import (
	"context"
	"net/http"
	"runtime"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) health() {
	handle(s, op{
		method: http.MethodGet, path: "/healthz", id: "health", summary: "Say whether the record answers", rule: anyone,
		example: health{Status: "ok"},
	}, s.healthz)
	handle(s, op{
		method: http.MethodGet, path: "/v1/version", id: "version", summary: "Say what the broker is", rule: anyone,
		example: wire.Version{Version: "0.1.0", Go: "go1.26.8", Origin: "broker.example/ledger"},
	}, s.version)
}

type health struct {
	Status string `json:"status"`
}

func (s *Server) healthz(ctx context.Context, _ *struct{}) (*body[health], error) {
	if _, err := s.d.Store.Sites(ctx); err != nil {
		return nil, err
	}
	return &body[health]{health{Status: "ok"}}, nil
}

func (s *Server) version(context.Context, *struct{}) (*body[wire.Version], error) {
	return &body[wire.Version]{wire.Version{Version: s.d.Version, Go: runtime.Version(), Origin: s.d.Ledger.Origin()}}, nil
}
