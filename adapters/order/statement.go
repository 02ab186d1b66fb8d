package order

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// The names that make a statement a work order.
const (
	PayloadType   = "application/vnd.in-toto+json"
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://valico.eu/attestations/work-order/v1"
)

const stampLayout = "2006-01-02T15:04:05.000000Z"

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     wire      `json:"predicate"`
}

// subject is the image manifest that the order starts.
type subject struct {
	Digest digests `json:"digest"`
}

type digests struct {
	SHA256 string `json:"sha256"`
}

// wire is broker.WorkOrder with the names, units and order of its encoding.
type wire struct {
	ID        string          `json:"id"`
	Site      string          `json:"site"`
	Account   string          `json:"account"`
	KeyEpoch  int             `json:"key_epoch"`
	NotBefore string          `json:"not_before"`
	NotAfter  string          `json:"not_after"`
	Tenant    string          `json:"tenant"`
	Job       string          `json:"job"`
	Attempt   string          `json:"attempt"`
	Segment   int             `json:"segment,omitzero"`
	Submitter string          `json:"submitter"`
	Spec      broker.Digest   `json:"spec"`
	Permit    broker.Digest   `json:"permit"`
	Clearance broker.Digest   `json:"clearance"`
	Command   []string        `json:"command"`
	Env       []wireEnv       `json:"env"`
	WorkDir   string          `json:"workdir"`
	Mounts    []wireMount     `json:"mounts"`
	Limits    wireLimits      `json:"limits"`
	Network   string          `json:"network"`
	Telemetry string          `json:"telemetry"`
	Lease     string          `json:"lease"`
	Outputs   []wireOutputRef `json:"outputs"`
	Resume    *wireResume     `json:"resume,omitempty"`
}

// wireResume and wire.Segment are there only when the job may resume: any other
// order reads as it did before there were segments, for sites of that time too.
type wireResume struct {
	Signal        string `json:"signal"`
	BeforeSeconds int64  `json:"before_seconds"`
	MaxSegments   int    `json:"max_segments"`
}

type wireEnv struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type wireMount struct {
	Name    string        `json:"name"`
	PURI    string        `json:"puri"`
	Version string        `json:"version"`
	Digest  broker.Digest `json:"digest"`
}

type wireLimits struct {
	Nodes           int    `json:"nodes"`
	GPUsPerNode     int    `json:"gpus_per_node"`
	GPUType         string `json:"gpu_type"`
	CPUsPerNode     int    `json:"cpus_per_node"`
	MemoryMiB       int    `json:"memory_mib"`
	WalltimeSeconds int64  `json:"walltime_seconds"`
}

type wireOutputRef struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

// encodeStatement gives the one encoding of a work order.
func encodeStatement(o broker.WorkOrder) ([]byte, error) {
	if err := wellFormed(o); err != nil {
		return nil, err
	}
	b, err := json.Marshal(statement{
		Type: StatementType, PredicateType: PredicateType,
		Subject: []subject{{Digest: digests{SHA256: o.Image.Hex()}}}, Predicate: toWire(o),
	})
	if err != nil {
		return nil, fmt.Errorf("encode work order: %w", err)
	}
	return b, nil
}

// decodeStatement refuses every spelling but that of encodeStatement.
func decodeStatement(payloadType string, b []byte) (broker.WorkOrder, error) {
	if payloadType != PayloadType {
		return broker.WorkOrder{}, fmt.Errorf("payload type %q", payloadType)
	}
	var s statement
	if err := json.Unmarshal(b, &s, json.RejectUnknownMembers(true)); err != nil {
		return broker.WorkOrder{}, err
	}
	if s.Type != StatementType || s.PredicateType != PredicateType || len(s.Subject) != 1 {
		return broker.WorkOrder{}, fmt.Errorf("a statement of type %q", s.PredicateType)
	}
	o, err := s.order()
	if err != nil {
		return broker.WorkOrder{}, err
	}
	again, err := encodeStatement(o)
	if err != nil {
		return broker.WorkOrder{}, err
	}
	if !bytes.Equal(again, b) {
		return broker.WorkOrder{}, errors.New("another encoding of the same work order")
	}
	return o, nil
}

func toWire(o broker.WorkOrder) wire {
	w := wire{
		ID: string(o.ID), Site: string(o.Site), Account: o.Account, KeyEpoch: o.KeyEpoch,
		NotBefore: stamp(o.NotBefore), NotAfter: stamp(o.NotAfter), Tenant: string(o.Tenant), Job: string(o.Job),
		Attempt: string(o.Attempt), Segment: o.Segment, Submitter: string(o.Submitter), Spec: o.Spec, Permit: o.Permit, Clearance: o.Clearance,
		Command: o.Command, WorkDir: o.WorkDir, Network: o.Network, Telemetry: o.Telemetry, Lease: o.Lease,
		Limits: wireLimits{
			Nodes: o.Limits.Nodes, GPUsPerNode: o.Limits.GPUsPerNode, GPUType: o.Limits.GPUType,
			CPUsPerNode: o.Limits.CPUsPerNode, MemoryMiB: o.Limits.MemoryMiB,
			WalltimeSeconds: int64(o.Limits.Walltime / time.Second),
		},
	}
	for _, e := range o.Env {
		w.Env = append(w.Env, wireEnv(e))
	}
	for _, m := range o.Mounts {
		w.Mounts = append(w.Mounts, wireMount(m))
	}
	for _, p := range o.Outputs {
		w.Outputs = append(w.Outputs, wireOutputRef(p))
	}
	if r := o.Resume; r.Set() {
		w.Resume = &wireResume{Signal: r.Signal, BeforeSeconds: int64(r.Before / time.Second), MaxSegments: r.MaxSegments}
	}
	return w
}

// order gives empty lists as nil, so that equal bytes give equal orders.
func (s statement) order() (broker.WorkOrder, error) {
	w := s.Predicate
	notBefore, err := time.Parse(stampLayout, w.NotBefore)
	if err != nil {
		return broker.WorkOrder{}, fmt.Errorf("not_before: %w", err)
	}
	notAfter, err := time.Parse(stampLayout, w.NotAfter)
	if err != nil {
		return broker.WorkOrder{}, fmt.Errorf("not_after: %w", err)
	}
	if w.Resume != nil && (w.Resume.BeforeSeconds < 0 || w.Resume.BeforeSeconds > int64(maxWalltime/time.Second)) {
		return broker.WorkOrder{}, errors.New("resume out of bounds")
	}
	if w.Limits.WalltimeSeconds < 0 || w.Limits.WalltimeSeconds > int64(maxWalltime/time.Second) {
		return broker.WorkOrder{}, errors.New("walltime out of bounds")
	}
	o := broker.WorkOrder{
		ID: broker.OrderID(w.ID), Site: broker.SiteID(w.Site), Account: w.Account, KeyEpoch: w.KeyEpoch,
		NotBefore: notBefore, NotAfter: notAfter, Tenant: broker.TenantID(w.Tenant), Job: broker.JobID(w.Job),
		Attempt: broker.AttemptID(w.Attempt), Segment: w.Segment, Submitter: broker.PersonID(w.Submitter),
		Spec: w.Spec, Permit: w.Permit, Clearance: w.Clearance, Image: broker.Digest("sha256:" + s.Subject[0].Digest.SHA256),
		WorkDir: w.WorkDir, Network: w.Network, Telemetry: w.Telemetry, Lease: w.Lease,
		Limits: broker.Resources{
			Nodes: w.Limits.Nodes, GPUsPerNode: w.Limits.GPUsPerNode, GPUType: w.Limits.GPUType,
			CPUsPerNode: w.Limits.CPUsPerNode, MemoryMiB: w.Limits.MemoryMiB,
			Walltime: time.Duration(w.Limits.WalltimeSeconds) * time.Second,
		},
	}
	if len(w.Command) > 0 {
		o.Command = w.Command
	}
	for _, e := range w.Env {
		o.Env = append(o.Env, broker.EnvVar(e))
	}
	for _, m := range w.Mounts {
		o.Mounts = append(o.Mounts, broker.Mount(m))
	}
	for _, p := range w.Outputs {
		o.Outputs = append(o.Outputs, broker.OutputSpec(p))
	}
	if r := w.Resume; r != nil {
		o.Resume = broker.Resume{Signal: r.Signal, Before: time.Duration(r.BeforeSeconds) * time.Second, MaxSegments: r.MaxSegments}
	}
	return o, nil
}

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

const maxWalltime = 366 * 24 * time.Hour

// wellFormed is what an order must be before anything is compared: names that
// are there, digests that are digests, and nothing that a path or a process
// could misread.
func wellFormed(o broker.WorkOrder) error {
	for _, name := range []string{
		string(o.ID), string(o.Site), o.Account, string(o.Tenant), string(o.Job), string(o.Attempt), o.Network, o.Telemetry,
	} {
		if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00\n") {
			return fmt.Errorf("work order: name %q", name)
		}
	}
	for _, d := range []broker.Digest{o.Spec, o.Permit, o.Clearance, o.Image} {
		if !d.Valid() {
			return fmt.Errorf("work order: %q is not a digest", d)
		}
	}
	l := o.Limits
	switch {
	case o.Submitter == "":
		return errors.New("work order: no submitter")
	case o.KeyEpoch < 0:
		return fmt.Errorf("work order: key epoch %d", o.KeyEpoch)
	case !o.NotBefore.Before(o.NotAfter) || o.NotBefore.Year() < 2000 || o.NotAfter.Year() > 9999:
		return errors.New("work order: not_before is not before not_after")
	case len(o.Command) == 0 || o.Command[0] == "":
		return errors.New("work order: no command")
	case o.WorkDir != "" && (!path.IsAbs(o.WorkDir) || path.Clean(o.WorkDir) != o.WorkDir):
		return fmt.Errorf("work order: workdir %q", o.WorkDir)
	case l.Nodes < 1 || l.GPUsPerNode < 0 || l.CPUsPerNode < 1 || l.MemoryMiB < 1:
		return errors.New("work order: limits are not positive")
	case l.Walltime < time.Second || l.Walltime > maxWalltime || l.Walltime%time.Second != 0:
		return fmt.Errorf("work order: walltime %s", l.Walltime)
	case !o.Resume.Valid(l.Walltime):
		return fmt.Errorf("work order: resume %+v", o.Resume)
	case o.Resume.Set() && (o.Segment < 1 || o.Segment > o.Resume.MaxSegments) || !o.Resume.Set() && o.Segment != 0:
		return fmt.Errorf("work order: segment %d", o.Segment)
	}
	return namesAreSafe(o)
}

func namesAreSafe(o broker.WorkOrder) error {
	seen := map[string]bool{}
	for _, m := range o.Mounts {
		if m.Name == "" || m.Name[0] == '.' || strings.ContainsAny(m.Name, "/\x00\n") || seen[m.Name] || !m.Digest.Valid() {
			return fmt.Errorf("work order: mount %q", m.Name)
		}
		seen[m.Name] = true
	}
	for _, c := range o.Command {
		if strings.ContainsRune(c, 0) {
			return errors.New("work order: NUL in the command")
		}
	}
	for _, e := range o.Env {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") || strings.ContainsRune(e.Value, 0) {
			return fmt.Errorf("work order: variable %q", e.Name)
		}
	}
	return nil
}
