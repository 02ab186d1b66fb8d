package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// op describes a route: what it is called, who may use it, and an example of
// its answer.
type op struct {
	method, path string
	id           string
	summary      string
	rule         rule
	status       int // of success; 200 when zero
	example      any // of the answer
}

// operation gives the OpenAPI form.
func (s *Server) operation(o op) huma.Operation {
	status := o.status
	if status == 0 {
		status = http.StatusOK
	}
	h := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, DefaultStatus: status,
		MaxBodyBytes: maxBodyBytes, BodyReadTimeout: -1, // withDeadline bounds it
		Extensions:  map[string]any{"x-valico-rule": string(o.rule)},
		Responses:   map[string]*huma.Response{"default": s.problemResponse()},
		Middlewares: huma.Middlewares{s.guard(o.rule)},
	}
	if o.rule != anyone {
		h.Security = []map[string][]string{{"token": {}}}
	}
	return h
}

// problemResponse documents the one form of errors.
func (s *Server) problemResponse() *huma.Response {
	return &huma.Response{
		Description: "A problem: its type, rule, value and what helps.",
		Content: map[string]*huma.MediaType{wire.ProblemType: {
			Schema: s.api.OpenAPI().Components.Schemas.Schema(typeOf[wire.Problem](), true, "Problem"),
			Example: wire.Problem{
				Type: wire.ProblemBase + "not-found", Title: "Not found", Status: http.StatusNotFound, Detail: "no such job",
				Code: "not_found", Value: "job_0123456789abcdefghjkmnpqrs", Rule: "a job is visible to its own project only",
				Help: "list yours and check the identifier", Who: "the person who gave you the identifier",
			},
		}},
	}
}

// guard lets a request pass if its route's rule does.
func (s *Server) guard(rl rule) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(c)
		ctx, err := s.authorise(r, rl)
		if err != nil {
			s.writeProblem(w, r, err)
			return
		}
		next(huma.WithContext(c, ctx))
	}
}

// handle registers a typed route. Errors leave through fail alone.
func handle[I, O any](s *Server, o op, fn func(context.Context, *I) (*O, error)) {
	h := s.operation(o)
	huma.Register(s.api, h, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return out, nil
	})
	s.exemplify(o)
}

// exemplify puts the example beside the answer's schema.
func (s *Server) exemplify(o op) {
	item := s.api.OpenAPI().Paths[o.path]
	for _, h := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete, item.Head} {
		if h == nil || h.OperationID != o.id {
			continue
		}
		for status, r := range h.Responses {
			for ct, m := range r.Content {
				if status != "default" && ct == "application/json" {
					m.Example = o.example
				}
			}
		}
	}
}

// raw registers a route that streams; doc completes its OpenAPI form.
func (s *Server) raw(o op, doc func(*huma.Operation), fn func(http.ResponseWriter, *http.Request) error) {
	h := s.operation(o)
	h.Middlewares = nil
	doc(&h)
	s.api.OpenAPI().AddOperation(&h)
	pattern := o.method + " " + o.path
	if o.path == outputPath {
		pattern = o.method + " " + outputPattern
	}
	s.streams[pattern] = true
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, err := s.authorise(r, o.rule)
		if err == nil {
			err = fn(w, r.WithContext(ctx)) //nolint:contextcheck // ctx is the request's own with the principal
		}
		if err != nil {
			s.writeProblem(w, r, err)
		}
	})
}

// body is an answer of status 200 with a JSON body.
type body[T any] struct{ Body T }

// JobPath names a job; exported, because huma fills in no unexported part.
type JobPath struct {
	ID string `path:"id" maxLength:"64" example:"job_0123456789abcdefghjkmnpqrs" doc:"The job's id."`
}

// CreateKey is the Idempotency-Key of creates whose natural key already makes a
// repetition a conflict: it is checked, and a repetition is told as such.
type CreateKey struct {
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"128" pattern:"^[!-~]+$" doc:"1 to 128 visible ASCII characters."`
}
