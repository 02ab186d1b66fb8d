package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/valico-hpc/valico/broker"
)

// Release takes a reviewer's statement, verifies it with the officers' keys
// that the site pinned, and keeps it. From then on Open serves the outputs that
// it names. The same statement again does nothing.
func (a *Agent) Release(_ context.Context, id broker.AttemptID, envelope []byte) error {
	r, err := a.sealedRecord(id)
	if err != nil {
		return err
	}
	if err := a.mayLeave(r, envelope); err != nil {
		return err
	}
	path := filepath.Join(a.quarantine(id), "release.json")
	if kept, err := os.ReadFile(path); err == nil && a.mayLeave(r, kept) == nil { //nolint:gosec // the agent's own folder
		return nil
	}
	if err := writeFile(path, envelope, 0o400); err != nil {
		return unavailable("quarantine_unavailable", err)
	}
	return nil
}

// sealedRecord returns the record of an attempt that sealed outputs. What has
// none and what does not exist look alike.
func (a *Agent) sealedRecord(id broker.AttemptID) (record, error) {
	e, err := a.find(id)
	if err != nil {
		return record{}, unavailable("journal_unavailable", err)
	}
	if e != nil {
		if r, _ := e.snapshot(); r.State == stateSealed && r.Manifest != "" {
			return r, nil
		}
	}
	return record{}, broker.NotFound("sealed outputs", string(id))
}

// mayLeave checks a statement against what was sealed.
func (a *Agent) mayLeave(r record, envelope []byte) error {
	s, err := a.gate.release(envelope)
	if err != nil {
		return err
	}
	refuse := func(code, message, rule, value string) error {
		return &broker.Error{
			Kind: broker.KindForbidden, Code: code, Message: message, Rule: rule, Value: value,
			Help: "list the outputs again and let another reviewer sign what is sealed", Who: "a reviewer of your permit authority",
		}
	}
	switch {
	case s.Attempt != r.Attempt || s.Manifest != r.Manifest:
		return refuse("manifest_mismatch", "the statement is about other outputs than those sealed here",
			"a release names the attempt and the digest of the sealed manifest", string(s.Manifest))
	case s.Reviewer == r.Submitter:
		return refuse("reviewer_is_submitter", "a submitter may not release their own outputs",
			"the reviewer is another person than the submitter", string(s.Reviewer))
	}
	return nil
}

// Open reads one released file. Its bytes are hashed on the way, and the last
// read fails when they are not the released ones. Whatever is not released does
// not exist. The statement is verified each time, so a reviewer's key that the
// site took out of its trust releases nothing any more.
func (a *Agent) Open(_ context.Context, id broker.AttemptID, path string) (io.ReadCloser, broker.OutputFile, error) {
	none := func() (io.ReadCloser, broker.OutputFile, error) {
		return nil, broker.OutputFile{}, broker.NotFound("released output", path)
	}
	r, err := a.sealedRecord(id)
	if err != nil {
		return nil, broker.OutputFile{}, err
	}
	dir := a.quarantine(id)
	envelope, err := os.ReadFile(filepath.Join(dir, "release.json")) //nolint:gosec // the agent's own folder
	if errors.Is(err, os.ErrNotExist) {
		return none()
	}
	if err != nil {
		return nil, broker.OutputFile{}, unavailable("quarantine_unavailable", err)
	}
	if err := a.mayLeave(r, envelope); err != nil {
		if broker.KindOf(err) == broker.KindUnavailable {
			return nil, broker.OutputFile{}, err
		}
		return none()
	}
	m, err := a.manifest(r)
	if err != nil {
		return nil, broker.OutputFile{}, unavailable("quarantine_unavailable", err)
	}
	for _, f := range m.Files {
		if f.Path == path {
			return openSealed(filepath.Join(dir, "out"), f)
		}
	}
	return none()
}

// manifest reads a sealed manifest back and holds it to the journal.
func (a *Agent) manifest(r record) (broker.OutputManifest, error) {
	b, err := os.ReadFile(filepath.Join(a.quarantine(r.Attempt), "manifest.json"))
	if err != nil {
		return broker.OutputManifest{}, fmt.Errorf("read manifest: %w", err)
	}
	m, _, err := decodeManifest(b)
	if err != nil {
		return broker.OutputManifest{}, err
	}
	if m.Digest != r.Manifest || m.Attempt != r.Attempt {
		return broker.OutputManifest{}, errors.New("read manifest: it is not the one that was sealed")
	}
	return m, nil
}

func openSealed(dir string, of broker.OutputFile) (io.ReadCloser, broker.OutputFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, broker.OutputFile{}, unavailable("quarantine_unavailable", err)
	}
	f, err := root.Open(of.Path)
	if err := errors.Join(err, root.Close()); err != nil {
		return nil, broker.OutputFile{}, unavailable("quarantine_unavailable", err)
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != of.SizeBytes {
		return nil, broker.OutputFile{}, unavailable("quarantine_unavailable", errors.Join(err, f.Close(), errTampered))
	}
	return &hashed{f: f, h: sha256.New(), want: of.Digest}, of, nil
}

var errTampered = errors.New("a sealed file is not what was sealed")

// hashed reads a file and holds it to a digest at its end.
type hashed struct {
	f    *os.File
	h    hash.Hash
	want broker.Digest
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.f.Read(p)
	_, _ = h.h.Write(p[:n]) // a hash never returns an error
	if errors.Is(err, io.EOF) && broker.Digest("sha256:"+hex.EncodeToString(h.h.Sum(nil))) != h.want {
		return n, errTampered
	}
	return n, err
}

func (h *hashed) Close() error { return h.f.Close() }
