package agent

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

const manifestSchema = "valico-outputs/v1"

// skipped is something below /out that was not sealed.
type skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

type wireManifest struct {
	Schema   string       `json:"schema"`
	Attempt  string       `json:"attempt"`
	Sandbox  bool         `json:"sandbox"`
	SealedAt string       `json:"sealed_at"`
	Files    []wireOutput `json:"files"`
	Skipped  []skipped    `json:"skipped"`
}

type wireOutput struct {
	Path   string        `json:"path"`
	Size   int64         `json:"size"`
	Digest broker.Digest `json:"digest"`
}

const timeLayout = "2006-01-02T15:04:05.000000Z"

// encodeManifest gives the canonical bytes that a reviewer signs and sets them
// and their digest.
func encodeManifest(m broker.OutputManifest, skips []skipped) (broker.OutputManifest, error) {
	w := wireManifest{
		Schema: manifestSchema, Attempt: string(m.Attempt), Sandbox: m.Sandbox, SealedAt: m.SealedAt.UTC().Format(timeLayout),
		Files: []wireOutput{}, Skipped: append([]skipped{}, skips...),
	}
	for _, f := range m.Files {
		w.Files = append(w.Files, wireOutput{Path: f.Path, Size: f.SizeBytes, Digest: f.Digest})
	}
	b, err := json.Marshal(w)
	if err != nil {
		return broker.OutputManifest{}, fmt.Errorf("encode manifest: %w", err)
	}
	m.Bytes, m.Digest = b, broker.DigestOf(b)
	return m, nil
}

// decodeManifest reads the one encoding of a manifest.
func decodeManifest(b []byte) (broker.OutputManifest, []skipped, error) {
	var w wireManifest
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		return broker.OutputManifest{}, nil, fmt.Errorf("read manifest: %w", err)
	}
	at, err := time.Parse(timeLayout, w.SealedAt)
	if err != nil || w.Schema != manifestSchema {
		return broker.OutputManifest{}, nil, fmt.Errorf("read manifest: not of schema %s", manifestSchema)
	}
	m := broker.OutputManifest{Attempt: broker.AttemptID(w.Attempt), Sandbox: w.Sandbox, SealedAt: at}
	for _, f := range w.Files {
		m.Files = append(m.Files, broker.OutputFile{Path: f.Path, SizeBytes: f.Size, Digest: f.Digest})
	}
	if m, err = encodeManifest(m, w.Skipped); err != nil {
		return broker.OutputManifest{}, nil, err
	}
	if !bytes.Equal(m.Bytes, b) {
		return broker.OutputManifest{}, nil, fmt.Errorf("read manifest: another encoding of the same manifest")
	}
	return m, w.Skipped, nil
}

// DecodeManifest reads the one encoding of a sealed manifest and gives it its
// digest; it is for whoever gets its bytes from an agent that is far away.
func DecodeManifest(b []byte) (broker.OutputManifest, error) {
	m, _, err := decodeManifest(b)
	return m, err
}
