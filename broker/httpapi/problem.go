package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// problemError lets huma send a Problem as an error.
type problemError struct{ wire.Problem }

func (p *problemError) Error() string  { return p.Detail }
func (p *problemError) GetStatus() int { return p.Status }

// ContentType gives every error the media type of RFC 9457.
func (p *problemError) ContentType(string) string { return wire.ProblemType }

// fail turns an error into what is sent, and logs what is not sent.
func (s *Server) fail(ctx context.Context, err error) *problemError {
	p := wire.ProblemOf(err, requestID(ctx))
	if p.Status >= http.StatusInternalServerError {
		s.d.Log.ErrorContext(ctx, "request failed", slog.String("request_id", requestID(ctx)), slog.String("error", err.Error()))
	}
	return &problemError{p}
}

// writeProblem sends an error on a plain route.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := s.fail(r.Context(), err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="valico"`)
	}
	w.Header().Set("Content-Type", wire.ProblemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(p.Problem) // the caller went away
	}
}

// problems is the transformer that gives the errors of huma's own validation
// the one form that all errors have.
func problems(ctx huma.Context, status string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	err := invalid(m)
	p := wire.ProblemOf(err, requestID(ctx.Context()))
	if n, err := strconv.Atoi(status); err == nil && m.Status < http.StatusInternalServerError {
		p.Status = n // 400, 413 and 415 say more of a request's form than 422
	}
	return &problemError{p}, nil
}

// invalid is what huma found wrong with a request. Values in the header are not
// repeated: one of them is the token.
func invalid(m *huma.ErrorModel) error {
	if m.Status >= http.StatusInternalServerError {
		return fmt.Errorf("%s", m.Detail)
	}
	e := &broker.Error{
		Kind: broker.KindInvalid, Code: "request_invalid", Message: "the request is not valid",
		Rule: m.Detail, Help: "correct what is named; the API is described at /openapi.json",
	}
	f := &wire.FieldsError{Err: e}
	for _, d := range m.Errors {
		f.Fields = append(f.Fields, wire.FieldError{Field: d.Location, Reason: d.Message})
	}
	if len(f.Fields) > 0 {
		e.Rule, e.Message = f.Fields[0].Reason, "the request is not valid: "+f.Fields[0].Field
	}
	return f
}
