package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Outputs are what a job's attempts sealed.
type Outputs struct {
	Outputs []Sealed `json:"outputs" nullable:"false"`
}

// Sealed is what one attempt left in quarantine and what was released of it.
type Sealed struct {
	Attempt  string       `json:"attempt"`
	Manifest string       `json:"manifest" doc:"Digest that a reviewer signs."`
	Sandbox  bool         `json:"sandbox" doc:"Outputs of synthetic data."`
	SealedAt time.Time    `json:"sealed_at"`
	Files    []OutputFile `json:"files" nullable:"false"`
	Released bool         `json:"released"`
	Release  *Release     `json:"release,omitempty"`
}

// OutputFile is one sealed file.
type OutputFile struct {
	Path      string `json:"path" example:"model.json"`
	SizeBytes int64  `json:"size_bytes"`
	Digest    string `json:"digest"`
}

// Release is a recorded release.
type Release struct {
	ID          string    `json:"id"`
	Attempt     string    `json:"attempt"`
	Manifest    string    `json:"manifest"`
	Reviewer    string    `json:"reviewer"`
	LedgerIndex int64     `json:"ledger_index"`
	At          time.Time `json:"at"`
}

// ReleaseRequest carries a reviewer's signed statement.
type ReleaseRequest struct {
	Envelope []byte `json:"envelope" doc:"DSSE envelope, signed with the reviewer's key." example:"e30="`
}

// NewRelease gives a release as it travels.
func NewRelease(r broker.Release) Release {
	return Release{
		ID: string(r.ID), Attempt: string(r.Attempt), Manifest: string(r.Manifest), Reviewer: string(r.Reviewer),
		LedgerIndex: r.LedgerIndex, At: r.At,
	}
}

// NewSealed gives a sealed manifest as it travels.
func NewSealed(at broker.AttemptID, m broker.OutputManifest, r *broker.Release) Sealed {
	s := Sealed{
		Attempt: string(at), Manifest: string(m.Digest), Sandbox: m.Sandbox, SealedAt: m.SealedAt,
		Files: []OutputFile{}, Released: r != nil,
	}
	for _, f := range m.Files {
		s.Files = append(s.Files, OutputFile{Path: f.Path, SizeBytes: f.SizeBytes, Digest: string(f.Digest)})
	}
	if r != nil {
		rel := NewRelease(*r)
		s.Release = &rel
	}
	return s
}
