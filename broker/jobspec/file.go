package jobspec

import (
	"strconv"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// File is job.yaml as a person wrote it, with defaults filled in. What it
// cannot say are the digests: layers are cut from Image.Context and Image.Base
// is resolved by whoever submits.
type File struct {
	Name      string
	Permit    broker.PermitID
	Purpose   broker.Purpose
	Activity  string
	Datasets  []broker.DatasetUse
	Site      string // "" lets the broker choose
	Priority  string // "" takes the policy's default
	Image     FileImage
	Resources broker.Resources
	Network   string
	Telemetry string
	Outputs   []broker.OutputSpec
	Resume    broker.Resume
}

// FileImage says what the image is made of, in the person's terms.
type FileImage struct {
	Base    string // "none", "oci:FOLDER" or a registry reference with a digest
	Context string // the folder that becomes the source layer; "" when there is none
	Command []string
	Env     []broker.EnvVar
	WorkDir string
	User    string
}

// Defaults of job.yaml. The walltime has none: it decides what a job costs.
const (
	defaultName      = "job"
	defaultBase      = "none"
	defaultNetwork   = "none"
	defaultTelemetry = "sealed"
	defaultMemoryMiB = 1024
	defaultSignal    = "USR1"
)

// Spec is the job spec of the file with its layers as cut and its base as
// resolved: "none" or the digest of an image manifest.
func (f File) Spec(layers []broker.Layer, baseDigest string) broker.JobSpec {
	return broker.JobSpec{
		Name: f.Name, Permit: f.Permit, Purpose: f.Purpose, Activity: f.Activity,
		Datasets: f.Datasets, Site: f.Site, Priority: f.Priority,
		Image: broker.ImageSpec{
			Base: baseDigest, Layers: layers, Command: f.Image.Command, Env: f.Image.Env,
			WorkDir: f.Image.WorkDir, User: f.Image.User,
		},
		Resources: f.Resources, Network: f.Network, Telemetry: f.Telemetry, Outputs: f.Outputs, Resume: f.Resume,
	}
}

// defaults is a file before anything was read into it.
func defaults() File {
	return File{
		Name: defaultName, Network: defaultNetwork, Telemetry: defaultTelemetry,
		Image:     FileImage{Base: defaultBase},
		Resources: broker.Resources{Nodes: 1, CPUsPerNode: 1, MemoryMiB: defaultMemoryMiB},
	}
}

// check lists what keeps the file from being a job. A fault that the reader
// has told already, at its line, is not told again.
func (f File) check() []Problem {
	spec := f.Spec(nil, "none")
	c := &checker{found: Check(spec)}
	c.is(f.Image.Base != "" && text(f.Image.Base), "image.base",
		`is "none", "oci:FOLDER" or a registry reference with a digest`, f.Image.Base, "")
	c.is(text(f.Image.Context), "image.context", "is a folder", f.Image.Context, "")
	return c.found
}

// walltime is a duration as people write it: Go's units, and days before them.
func walltime(s string) (time.Duration, bool) {
	var d time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 12)
		if err != nil {
			return 0, false
		}
		d, s = time.Duration(n)*24*time.Hour, rest
		if s == "" {
			return d, d > 0
		}
	}
	more, err := time.ParseDuration(s)
	return d + more, err == nil && more > 0
}
