package jobspec

import (
	"bytes"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// Schema is the version of the encoding.
const Schema = "valico-job/v1"

// MaxSpecBytes bounds an encoded job spec.
const MaxSpecBytes = 256 << 10

type wireSpec struct {
	Schema    string        `json:"schema"`
	Name      string        `json:"name"`
	Permit    string        `json:"permit"`
	Purpose   wirePurpose   `json:"purpose"`
	Activity  string        `json:"activity"`
	Datasets  []wireDataset `json:"datasets"`
	Site      string        `json:"site"`
	Priority  string        `json:"priority,omitempty"`
	Image     wireImage     `json:"image"`
	Resources wireResources `json:"resources"`
	Network   string        `json:"network"`
	Telemetry string        `json:"telemetry"`
	Outputs   []wireOutput  `json:"outputs"`
	Resume    *wireResume   `json:"resume,omitempty"`
}

type wireResume struct {
	Signal        string `json:"signal"`
	BeforeSeconds int64  `json:"before_seconds"`
	MaxSegments   int    `json:"max_segments"`
}

type wirePurpose struct {
	Code string `json:"code"`
	Sub  string `json:"sub"`
}

type wireDataset struct {
	PURI    string `json:"puri"`
	Version string `json:"version"`
	Mount   string `json:"mount"`
}

type wireImage struct {
	Base    string      `json:"base"`
	Layers  []wireLayer `json:"layers"`
	Command []string    `json:"command"`
	Env     []wireEnv   `json:"env"`
	WorkDir string      `json:"workdir"`
	User    string      `json:"user"`
}

type wireLayer struct {
	Class     string        `json:"class"`
	MediaType string        `json:"media_type"`
	Digest    broker.Digest `json:"digest"`
	DiffID    broker.Digest `json:"diff_id"`
	SizeBytes int64         `json:"size_bytes"`
}

type wireEnv struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type wireResources struct {
	Nodes           int    `json:"nodes"`
	GPUsPerNode     int    `json:"gpus_per_node"`
	GPUType         string `json:"gpu_type"`
	CPUsPerNode     int    `json:"cpus_per_node"`
	MemoryMiB       int    `json:"memory_mib"`
	WalltimeSeconds int64  `json:"walltime_seconds"`
}

type wireOutput struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

// EncodeSpec gives the one encoding of a job spec, or an *Error with every
// fault that keeps the spec from having one.
func EncodeSpec(s broker.JobSpec) ([]byte, error) {
	if err := problems(Check(s)); err != nil {
		return nil, err
	}
	b, err := json.Marshal(toWire(s))
	if err != nil {
		return nil, problems([]Problem{{Path: "job", Rule: "text is UTF-8", Value: err.Error()}})
	}
	if len(b) > MaxSpecBytes {
		return nil, problems([]Problem{{
			Path: "job", Rule: "an encoded job has at most 256 KiB",
			Help: "put long values into a file of the image",
		}})
	}
	return b, nil
}

// DecodeSpec reads what EncodeSpec wrote and refuses everything else: unknown,
// missing or repeated members, another order or spacing, and specs that do not
// pass Check.
func DecodeSpec(b []byte) (broker.JobSpec, error) {
	malformed := func(value string) error {
		return problems([]Problem{{
			Path: "job", Rule: "a job spec is its canonical encoding, " + Schema, Value: value,
			Help: "encode it with the same version of valico",
		}})
	}
	if len(b) > MaxSpecBytes {
		return broker.JobSpec{}, malformed("more than 256 KiB")
	}
	var w wireSpec
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		return broker.JobSpec{}, malformed(err.Error())
	}
	if w.Schema != Schema {
		return broker.JobSpec{}, malformed(w.Schema)
	}
	if w.Resources.WalltimeSeconds < 0 || w.Resources.WalltimeSeconds > int64(maxWalltime/time.Second) {
		return broker.JobSpec{}, malformed("walltime_seconds out of bounds")
	}
	if w.Resume != nil && (w.Resume.BeforeSeconds < 0 || w.Resume.BeforeSeconds > int64(maxWalltime/time.Second)) {
		return broker.JobSpec{}, malformed("before_seconds out of bounds")
	}
	s := w.spec()
	again, err := EncodeSpec(s)
	if err != nil {
		return broker.JobSpec{}, err
	}
	if !bytes.Equal(again, b) {
		return broker.JobSpec{}, malformed("another encoding of the same job")
	}
	return s, nil
}

func toWire(s broker.JobSpec) wireSpec {
	w := wireSpec{
		Schema: Schema, Name: s.Name, Permit: string(s.Permit), Activity: s.Activity, Site: s.Site, Priority: s.Priority,
		Purpose: wirePurpose(s.Purpose), Network: s.Network, Telemetry: s.Telemetry,
		Image: wireImage{
			Base: s.Image.Base, Command: s.Image.Command, WorkDir: s.Image.WorkDir, User: s.Image.User,
		},
		Resources: wireResources{
			Nodes: s.Resources.Nodes, GPUsPerNode: s.Resources.GPUsPerNode, GPUType: s.Resources.GPUType,
			CPUsPerNode: s.Resources.CPUsPerNode, MemoryMiB: s.Resources.MemoryMiB,
			WalltimeSeconds: int64(s.Resources.Walltime / time.Second),
		},
	}
	for _, d := range s.Datasets {
		w.Datasets = append(w.Datasets, wireDataset(d))
	}
	for _, l := range s.Image.Layers {
		w.Image.Layers = append(w.Image.Layers, wireLayer(l))
	}
	for _, e := range s.Image.Env {
		w.Image.Env = append(w.Image.Env, wireEnv(e))
	}
	for _, o := range s.Outputs {
		w.Outputs = append(w.Outputs, wireOutput(o))
	}
	if r := s.Resume; r.Set() {
		w.Resume = &wireResume{Signal: r.Signal, BeforeSeconds: int64(r.Before / time.Second), MaxSegments: r.MaxSegments}
	}
	return w
}

// spec gives empty lists as nil, so that equal bytes give equal specs.
func (w wireSpec) spec() broker.JobSpec {
	s := broker.JobSpec{
		Name: w.Name, Permit: broker.PermitID(w.Permit), Activity: w.Activity, Site: w.Site, Priority: w.Priority,
		Purpose: broker.Purpose(w.Purpose), Network: w.Network, Telemetry: w.Telemetry,
		Image: broker.ImageSpec{Base: w.Image.Base, WorkDir: w.Image.WorkDir, User: w.Image.User},
		Resources: broker.Resources{
			Nodes: w.Resources.Nodes, GPUsPerNode: w.Resources.GPUsPerNode, GPUType: w.Resources.GPUType,
			CPUsPerNode: w.Resources.CPUsPerNode, MemoryMiB: w.Resources.MemoryMiB,
			Walltime: time.Duration(w.Resources.WalltimeSeconds) * time.Second,
		},
	}
	if len(w.Image.Command) > 0 {
		s.Image.Command = w.Image.Command
	}
	for _, d := range w.Datasets {
		s.Datasets = append(s.Datasets, broker.DatasetUse(d))
	}
	for _, l := range w.Image.Layers {
		s.Image.Layers = append(s.Image.Layers, broker.Layer(l))
	}
	for _, e := range w.Image.Env {
		s.Image.Env = append(s.Image.Env, broker.EnvVar(e))
	}
	for _, o := range w.Outputs {
		s.Outputs = append(s.Outputs, broker.OutputSpec(o))
	}
	if r := w.Resume; r != nil {
		s.Resume = broker.Resume{Signal: r.Signal, Before: time.Duration(r.BeforeSeconds) * time.Second, MaxSegments: r.MaxSegments}
	}
	return s
}
