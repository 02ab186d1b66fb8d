package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// JobSpec is a job as asked for; members as in the canonical job spec.
type JobSpec struct {
	Name      string       `json:"name" maxLength:"100" doc:"A label for people; never leaves the broker." example:"screening"`
	Permit    string       `json:"permit" minLength:"1" maxLength:"200" doc:"The permit's id." example:"sandbox-2026-11-24"`
	Purpose   Purpose      `json:"purpose"`
	Activity  string       `json:"activity" maxLength:"64" example:"train"`
	Datasets  []DatasetUse `json:"datasets,omitempty" maxItems:"1024" nullable:"false"`
	Site      string       `json:"site,omitempty" maxLength:"100" doc:"A site's name; left out, the broker chooses." example:"local"`
	Priority  string       `json:"priority,omitempty" maxLength:"64" doc:"A class of the policy's; left out, its default." example:"standard"`
	Image     ImageSpec    `json:"image"`
	Resources Resources    `json:"resources"`
	Network   string       `json:"network" enum:"none,job" example:"none"`
	Telemetry string       `json:"telemetry" enum:"sealed,metrics,full" example:"metrics"`
	Outputs   []OutputSpec `json:"outputs,omitempty" maxItems:"1024" nullable:"false"`
	Resume    *Resume      `json:"resume,omitempty" doc:"Lets the job go on in further segments; left out, it has one."`
}

// Purpose is a code of Article 53(1) of Regulation (EU) 2025/327.
type Purpose struct {
	Code string `json:"code" maxLength:"20" example:"53(1)(e)"`
	Sub  string `json:"sub,omitempty" maxLength:"4" example:"ii"`
}

// DatasetUse asks for a dataset at /data/<mount>.
type DatasetUse struct {
	PURI    string `json:"puri" format:"uri" maxLength:"2048" example:"https://data.example/dataset/synthetic-screening"`
	Version string `json:"version,omitempty" maxLength:"100" example:"1"`
	Mount   string `json:"mount" maxLength:"64" example:"cohort"`
}

// ImageSpec says what the image is made of.
type ImageSpec struct {
	Base    string   `json:"base" maxLength:"200" doc:"none, or the digest of an image manifest." example:"none"`
	Layers  []Layer  `json:"layers,omitempty" maxItems:"100" nullable:"false"`
	Command []string `json:"command" minItems:"1" maxItems:"1024" nullable:"false" example:"[\"/trainer\"]"`
	Env     []EnvVar `json:"env,omitempty" nullable:"false"`
	WorkDir string   `json:"workdir,omitempty" maxLength:"4096"`
	User    string   `json:"user,omitempty" maxLength:"40"`
}

// Layer is one layer, uploaded beforehand as a blob.
type Layer struct {
	Class     string `json:"class" enum:"dependencies,data,source" example:"source"`
	MediaType string `json:"media_type" maxLength:"200" example:"application/vnd.oci.image.layer.v1.tar+zstd"`
	Digest    string `json:"digest" maxLength:"71" example:"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"`
	DiffID    string `json:"diff_id" maxLength:"71" example:"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"`
	SizeBytes int64  `json:"size_bytes" minimum:"1" example:"1024"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name  string `json:"name" maxLength:"200" example:"EPOCHS"`
	Value string `json:"value" maxLength:"4096" example:"5"`
}

// Resources are what one attempt takes.
type Resources struct {
	Nodes           int    `json:"nodes" minimum:"1" example:"1"`
	GPUsPerNode     int    `json:"gpus_per_node" minimum:"0" example:"1"`
	GPUType         string `json:"gpu_type,omitempty" maxLength:"64" example:"h100"`
	CPUsPerNode     int    `json:"cpus_per_node" minimum:"1" example:"4"`
	MemoryMiB       int    `json:"memory_mib" minimum:"1" example:"4096"`
	WalltimeSeconds int64  `json:"walltime_seconds" minimum:"1" maximum:"31622400" example:"600"`
}

// OutputSpec declares a file below /out.
type OutputSpec struct {
	Path string `json:"path" maxLength:"4096" example:"model.json"`
	Type string `json:"type" enum:"model,metrics,table,figure,text" example:"model"`
}

// Resume lets a job go on from what it wrote to /ckpt.
type Resume struct {
	Signal        string `json:"signal" enum:"HUP,INT,TERM,USR1,USR2" doc:"Sent to the job's first process before its walltime is over." example:"USR1"`
	BeforeSeconds int64  `json:"before_seconds" minimum:"1" maximum:"31622400" doc:"How long before." example:"120"`
	MaxSegments   int    `json:"max_segments" minimum:"2" maximum:"100" doc:"Attempts in all, the first included." example:"5"`
}

// NewJobSpec gives the form of a job spec that travels.
func NewJobSpec(s broker.JobSpec) JobSpec {
	w := JobSpec{
		Name: s.Name, Permit: string(s.Permit), Purpose: Purpose(s.Purpose), Activity: s.Activity, Site: s.Site, Priority: s.Priority,
		Network: s.Network, Telemetry: s.Telemetry,
		Image: ImageSpec{Base: s.Image.Base, Command: s.Image.Command, WorkDir: s.Image.WorkDir, User: s.Image.User},
		Resources: Resources{
			Nodes: s.Resources.Nodes, GPUsPerNode: s.Resources.GPUsPerNode, GPUType: s.Resources.GPUType,
			CPUsPerNode: s.Resources.CPUsPerNode, MemoryMiB: s.Resources.MemoryMiB,
			WalltimeSeconds: int64(s.Resources.Walltime / time.Second),
		},
	}
	for _, d := range s.Datasets {
		w.Datasets = append(w.Datasets, DatasetUse(d))
	}
	for _, l := range s.Image.Layers {
		w.Image.Layers = append(w.Image.Layers, Layer{
			Class: l.Class, MediaType: l.MediaType, Digest: string(l.Digest), DiffID: string(l.DiffID), SizeBytes: l.SizeBytes,
		})
	}
	for _, e := range s.Image.Env {
		w.Image.Env = append(w.Image.Env, EnvVar(e))
	}
	for _, o := range s.Outputs {
		w.Outputs = append(w.Outputs, OutputSpec(o))
	}
	if r := s.Resume; r.Set() {
		w.Resume = &Resume{Signal: r.Signal, BeforeSeconds: int64(r.Before / time.Second), MaxSegments: r.MaxSegments}
	}
	return w
}

// Noun is the job spec. Its form is checked by whoever encodes it.
func (w JobSpec) Noun() broker.JobSpec {
	s := broker.JobSpec{
		Name: w.Name, Permit: broker.PermitID(w.Permit), Purpose: broker.Purpose(w.Purpose), Activity: w.Activity, Site: w.Site, Priority: w.Priority,
		Network: w.Network, Telemetry: w.Telemetry,
		Image: broker.ImageSpec{Base: w.Image.Base, Command: w.Image.Command, WorkDir: w.Image.WorkDir, User: w.Image.User},
		Resources: broker.Resources{
			Nodes: w.Resources.Nodes, GPUsPerNode: w.Resources.GPUsPerNode, GPUType: w.Resources.GPUType,
			CPUsPerNode: w.Resources.CPUsPerNode, MemoryMiB: w.Resources.MemoryMiB,
			Walltime: time.Duration(w.Resources.WalltimeSeconds) * time.Second,
		},
	}
	for _, d := range w.Datasets {
		s.Datasets = append(s.Datasets, broker.DatasetUse(d))
	}
	for _, l := range w.Image.Layers {
		s.Image.Layers = append(s.Image.Layers, broker.Layer{
			Class: l.Class, MediaType: l.MediaType, Digest: broker.Digest(l.Digest), DiffID: broker.Digest(l.DiffID), SizeBytes: l.SizeBytes,
		})
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
