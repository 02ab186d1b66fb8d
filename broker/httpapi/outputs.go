package httpapi

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// An output's path has slashes: OpenAPI has no name for that, the mux has.
const (
	outputPath    = "/v1/jobs/{id}/outputs/{path}"
	outputPattern = "/v1/jobs/{id}/outputs/{path...}"
)

func (s *Server) outputs() {
	rel := wire.Release{ID: "rel_0123456789abcdefghjkmnpqrs", Attempt: "att_0123456789abcdefghjkmnpqrs", Manifest: exampleDigest, Reviewer: "rita@hdab.example", LedgerIndex: 4, At: exampleTime()}
	handle(s, op{
		method: http.MethodGet, path: "/v1/jobs/{id}/outputs", id: "list-outputs", summary: "List what a job sealed and what of it is released",
		rule: signedIn, example: wire.Outputs{Outputs: []wire.Sealed{{
			Attempt: rel.Attempt, Manifest: exampleDigest, Sandbox: true, SealedAt: exampleTime(),
			Files: []wire.OutputFile{{Path: "model.json", SizeBytes: 2048, Digest: exampleDigest}},
		}}},
	}, s.listOutputs)
	handle(s, op{
		method: http.MethodPost, path: "/v1/jobs/{id}/releases", id: "release-outputs", summary: "Release a sealed manifest by a reviewer's signed statement",
		rule: reviewer, status: http.StatusCreated, example: rel,
	}, s.releaseOutputs)
	s.raw(op{
		method: http.MethodGet, path: outputPath, id: "fetch-output", summary: "Fetch a released output", rule: signedIn,
	}, func(h *huma.Operation) {
		h.Parameters = []*huma.Param{
			pathParam("id", "The job's id.", "job_0123456789abcdefghjkmnpqrs"),
			pathParam("path", "The output's path below /out; may have slashes.", "model.json"),
		}
		h.Responses["200"] = &huma.Response{
			Description: "The file's bytes; Content-Digest says their SHA-256 (RFC 9530).",
			Content: map[string]*huma.MediaType{"application/octet-stream": {
				Schema: &huma.Schema{Type: "string", Format: "binary"}, Example: "the file's bytes",
			}},
		}
	}, s.fetchOutput)
}

func (s *Server) listOutputs(ctx context.Context, in *JobPath) (*body[wire.Outputs], error) {
	all, err := s.d.Airlock.Outputs(ctx, caller(ctx), broker.JobID(in.ID))
	if err != nil {
		return nil, fmt.Errorf("list outputs: %w", err)
	}
	out := wire.Outputs{Outputs: []wire.Sealed{}}
	for _, o := range all {
		out.Outputs = append(out.Outputs, wire.NewSealed(o.Attempt, o.Manifest, o.Release))
	}
	return &body[wire.Outputs]{out}, nil
}

type releaseInput struct {
	JobPath
	CreateKey
	Body wire.ReleaseRequest
}

func (s *Server) releaseOutputs(ctx context.Context, in *releaseInput) (*body[wire.Release], error) {
	rel, err := s.d.Airlock.Release(ctx, caller(ctx), broker.JobID(in.ID), in.Body.Envelope)
	if err != nil {
		return nil, fmt.Errorf("release outputs of %s: %w", in.ID, err)
	}
	return &body[wire.Release]{wire.NewRelease(rel)}, nil
}

func (s *Server) fetchOutput(w http.ResponseWriter, r *http.Request) error {
	rc, f, err := s.d.Airlock.Open(r.Context(), caller(r.Context()), broker.JobID(r.PathValue("id")), r.PathValue("path"))
	if err != nil {
		return fmt.Errorf("open output: %w", err)
	}
	defer rc.Close() //nolint:errcheck // read only
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(f.SizeBytes, 10))
	h.Set("Cache-Control", "no-store")
	if digest, err := contentDigest(f.Digest); err == nil {
		h.Set("Content-Digest", digest)
	}
	ctl := http.NewResponseController(w)
	out := &idleWriter{w: w, extend: func() {
		_ = ctl.SetWriteDeadline(time.Now().Add(streamIdle)) // not every writer of a test has deadlines
	}}
	if n, err := io.Copy(out, rc); err != nil || n != f.SizeBytes {
		panic(http.ErrAbortHandler) // half a file must not look like a whole one
	}
	return nil
}

// idleWriter gives each write its own time.
type idleWriter struct {
	w      io.Writer
	extend func()
}

// Write writes some bytes.
func (i *idleWriter) Write(p []byte) (int, error) {
	i.extend()
	return i.w.Write(p)
}

// contentDigest is the form of RFC 9530: sha-256=:base64:.
func contentDigest(d broker.Digest) (string, error) {
	b, err := hex.DecodeString(d.Hex())
	if err != nil || !d.Valid() {
		return "", fmt.Errorf("digest %q", d)
	}
	var sb strings.Builder
	sb.WriteString("sha-256=:")
	sb.WriteString(base64Std(b))
	sb.WriteString(":")
	return sb.String(), nil
}
