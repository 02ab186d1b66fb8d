package broker

import "time"

// JobSpec is what a person asks for: job.yaml, resolved. Every field is
// controlled by the submitter and therefore policy input (promise P10).
type JobSpec struct {
	Name      string // a label for people; never leaves the broker
	Permit    PermitID
	Purpose   Purpose
	Activity  string // "train", "fine_tune", "evaluate", "inference_internal"
	Datasets  []DatasetUse
	Site      string // site name; empty lets the broker choose the first that admits
	Priority  string // a class of the policy's; empty takes its default
	Image     ImageSpec
	Resources Resources
	Network   string // "none" or "job"
	Telemetry string // "sealed", "metrics" or "full"
	Outputs   []OutputSpec
	Resume    Resume
}

// Purpose is a code of Regulation (EU) 2025/327 Article 53(1), "53(1)(e)",
// with the sub-point where it has one, "ii".
type Purpose struct{ Code, Sub string }

// String gives the citation, for example "53(1)(e)(ii)".
func (p Purpose) String() string {
	if p.Sub == "" {
		return p.Code
	}
	return p.Code + "(" + p.Sub + ")"
}

// DatasetUse asks for a dataset, read-only at /data/<Mount>.
type DatasetUse struct {
	PURI    string // persistent URI, matched whole (HealthDCAT-AP dct:identifier)
	Version string
	Mount   string // one path element
}

// ImageSpec says what the job's image is made of. Layers are cut by the client
// and checked by the broker; Base is "none" or the digest of an image manifest.
type ImageSpec struct {
	Base    string
	Layers  []Layer
	Command []string
	Env     []EnvVar
	WorkDir string
	User    string // "uid" or "uid:gid" recorded in the image; the sandbox maps one uid whatever it says
}

// Layer is one layer of an image, cut by the client.
type Layer struct {
	Class     string // "dependencies", "data" or "source"
	MediaType string
	Digest    Digest // of the bytes stored
	DiffID    Digest // of the uncompressed tar
	SizeBytes int64
}

// EnvVar is one environment variable of the workload.
type EnvVar struct{ Name, Value string }

// Resources are what one attempt takes.
type Resources struct {
	Nodes       int
	GPUsPerNode int
	GPUType     string // "" takes any
	CPUsPerNode int
	MemoryMiB   int // per node
	Walltime    time.Duration
}

// GPUs is the number of GPUs over all nodes.
func (r Resources) GPUs() int { return r.Nodes * r.GPUsPerNode }

// GPUSeconds is what one attempt reserves: GPUs × (walltime + kill margin),
// rounded up to whole seconds. A job without GPUs reserves nothing.
func (r Resources) GPUSeconds(killMargin time.Duration) int64 {
	d := r.Walltime + killMargin
	return int64(r.GPUs()) * int64((d+time.Second-1)/time.Second)
}

// OutputSpec declares a file or folder below /out that the job will write.
type OutputSpec struct {
	Path string
	Type string // "model", "metrics", "table", "figure", "text"
}

// Job is a submitted job.
type Job struct {
	ID         JobID
	Tenant     TenantID
	Project    ProjectID
	Submitter  PersonID
	Spec       JobSpec
	SpecDigest Digest // of the canonical bytes that are stored
	Site       SiteID // chosen at admission
	Priority   Priority
	State      JobState
	Code       string // why it ended, when it did not succeed
	Version    int64  // for optimistic locking
	CreatedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt time.Time // zero unless State is terminal
}

// Priority is the class that policy gave a job when it was admitted, and the
// class's weight. It decides the order in which jobs take their turn.
type Priority struct {
	Class  string
	Weight int64
}

// Attempt is one execution of a job.
type Attempt struct {
	ID           AttemptID
	Tenant       TenantID
	Project      ProjectID
	Job          JobID
	Number       int // from 1; the segment of a job that resumes
	State        AttemptState
	Outcome      Outcome
	ExitCode     int
	Code         string    // refusal or failure code
	Waiting      Waiting   // why it has not begun; of the state as it is
	WaitingSince time.Time // when Waiting.Code came; zero when nothing waits
	Image        Digest    // the assembled manifest; "" before packaging ended
	Clearance    DecisionID
	Order        OrderID
	Reservation  ReservationID
	Usage        Usage
	Version      int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
}

// Usage is what an attempt consumed, as the site accounts it.
type Usage struct {
	GPUSeconds int64
	CPUSeconds int64
	Elapsed    time.Duration
	Method     string // "slurmdb", "nomad", "spool", "estimate"
}
