package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// Deps are the parts behind the API. Probe and Agents may be nil; all others are required.
type Deps struct {
	Admission Admission
	Store     Store
	Airlock   Airlock
	Blobs     Blobs
	Ledger    Ledger
	Hub       Hub
	Agents    Agents          // nil: no site is remote
	Probe     Probe           // nil: a site's record is all that site check says
	Trust     admission.Trust // pinned permit and status keys
	Log       *slog.Logger
	Now       func() time.Time
	Version   string
	// Heartbeat is how often a silent stream of events shows that it is alive;
	// 15 s when zero.
	Heartbeat time.Duration
}

// Server is the API.
type Server struct {
	d       Deps
	mux     *http.ServeMux
	api     huma.API
	streams map[string]bool // patterns without a deadline
}

// New makes the API.
func New(d Deps) (*Server, error) {
	if d.Admission == nil || d.Store == nil || d.Airlock == nil || d.Blobs == nil || d.Ledger == nil || d.Hub == nil ||
		d.Log == nil || d.Now == nil {
		return nil, errors.New("httpapi: every part but Probe and Agents is required")
	}
	if d.Heartbeat <= 0 {
		d.Heartbeat = 15 * time.Second
	}
	s := &Server{d: d, mux: http.NewServeMux(), streams: map[string]bool{}}
	s.api = humago.New(s.mux, config())
	s.jobs()
	s.agents()
	s.queue()
	s.plan()
	s.events()
	s.blobs()
	s.outputs()
	s.permits()
	s.sites()
	s.persons()
	s.allocations()
	s.usage()
	s.ledger()
	s.health()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeProblem(w, r, &broker.Error{
			Kind: broker.KindNotFound, Code: "route_unknown", Message: "no such route", Rule: "the API is described at /openapi.json",
			Help: "check method and path", Who: "whoever wrote the client",
		})
	})
	return s, nil
}

// OpenAPI is the description of the API: OpenAPI 3.1 as indented JSON.
func (s *Server) OpenAPI() ([]byte, error) { return openAPI(s.api) }

// config is huma without what it adds of its own: no schema links, no pages.
func config() huma.Config {
	c := huma.DefaultConfig("Valico broker", "1")
	c.Info.Description = "A technical check of jobs against data permits, and their way to a supercomputer. Build: see /v1/version."
	c.CreateHooks = nil
	c.DocsPath, c.SchemasPath = "", ""
	c.OpenAPIPath = "/openapi"
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{problems}
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", BearerFormat: "vlc_ and 43 characters of base64url"}, //nolint:gosec // the form of a token, not one
	}
	format := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: func(b []byte, v any) error { return json.Unmarshal(b, v) }}
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	return c
}

// schemaName names a type in the description. Types of other packages say
// whose they are, because the API has a Purpose and a Record of its own.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	pkg := path.Base(t.PkgPath())
	if t.PkgPath() == "" || pkg == "wire" || pkg == "httpapi" {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
