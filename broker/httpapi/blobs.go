package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valico-hpc/valico/broker"
)

// maxBlobBytes bounds one layer.
const maxBlobBytes = 64 << 30

func (s *Server) blobs() {
	digest := pathParam("digest", "sha256: and 64 lower-case hexadecimal digits.", "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
	s.raw(op{
		method: http.MethodHead, path: "/v1/blobs/{digest}", id: "has-blob", summary: "Ask whether the tenant has a layer", rule: developer,
	}, func(h *huma.Operation) {
		h.Parameters = []*huma.Param{digest}
		h.Responses["204"] = &huma.Response{Description: "It is there."}
	}, s.hasBlob)
	s.raw(op{
		method: http.MethodPut, path: "/v1/blobs/{digest}", id: "put-blob", summary: "Upload a layer; its digest is checked",
		rule: developer, status: http.StatusCreated,
	}, func(h *huma.Operation) {
		h.Parameters = []*huma.Param{digest}
		h.RequestBody = &huma.RequestBody{
			Required: true, Description: "The layer's bytes, with Content-Length.",
			Content: map[string]*huma.MediaType{"application/octet-stream": {
				Schema: &huma.Schema{Type: "string", Format: "binary"}, Example: "the layer's bytes",
			}},
		}
		h.Responses["201"] = &huma.Response{Description: "It is stored durably."}
	}, s.putBlob)
}

func digestOf(r *http.Request) (broker.Digest, error) {
	d := broker.Digest(r.PathValue("digest"))
	if !d.Valid() {
		return "", badParam("digest", "is sha256: and 64 lower-case hexadecimal digits", string(d))
	}
	return d, nil
}

func (s *Server) hasBlob(w http.ResponseWriter, r *http.Request) error {
	d, err := digestOf(r)
	if err != nil {
		return err
	}
	ok, err := s.d.Blobs.Has(r.Context(), caller(r.Context()).Tenant, d)
	if err != nil {
		return fmt.Errorf("look for blob %s: %w", d, err)
	}
	if !ok {
		return broker.NotFound("blob", string(d))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) error {
	d, err := digestOf(r)
	if err != nil {
		return err
	}
	if r.ContentLength <= 0 || r.ContentLength > maxBlobBytes {
		return badParam("Content-Length", "says the blob's size, 1 byte to 64 GiB", r.Header.Get("Content-Length"))
	}
	rc := http.NewResponseController(w)
	in := &idleReader{r: http.MaxBytesReader(w, r.Body, r.ContentLength), extend: func() {
		_ = rc.SetReadDeadline(time.Now().Add(streamIdle)) // not every writer of a test has deadlines
	}}
	if err := s.d.Blobs.Put(r.Context(), caller(r.Context()).Tenant, d, r.ContentLength, in); err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// idleReader gives each read its own time: a stream may be long, never silent.
type idleReader struct {
	r      io.Reader
	extend func()
}

// Read reads some bytes.
func (i *idleReader) Read(p []byte) (int, error) {
	i.extend()
	return i.r.Read(p)
}
