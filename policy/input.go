package policy

import "github.com/valico-hpc/valico/policy/permit"

// InputSchema is the version of Input.
const InputSchema = "valico-policy-input/v1"

// Moments at which policy is asked (design: moments of the rules).
const (
	MomentAdmission = "admission"
	MomentClearance = "clearance"
)

// Input is everything that a decision may depend on: no rule reads a clock, a
// network or data from elsewhere. Its canonical bytes are what the ledger
// keeps, so a decision replays from them alone. A field that is absent denies.
type Input struct {
	Schema    string    `json:"schema"`
	Moment    string    `json:"moment"`
	Now       string    `json:"now"` // RFC 3339, UTC, microseconds
	Job       Job       `json:"job"`
	Segment   int       `json:"segment"`         // from 1: which attempt of the job this is about
	Image     *Image    `json:"image,omitempty"` // the assembled image; at clearance only
	Submitter Submitter `json:"submitter"`
	Permits   []Permit  `json:"permits"`
	Site      Site      `json:"site"`
	Budget    Budget    `json:"budget"`
}

// Job is the whole job spec. Every field of broker.JobSpec is here (P10).
type Job struct {
	Name      string       `json:"name"`
	Permit    string       `json:"permit"`
	Purpose   Purpose      `json:"purpose"`
	Activity  string       `json:"activity"`
	Datasets  []DatasetUse `json:"datasets"`
	Site      string       `json:"site"`
	Priority  string       `json:"priority"` // a class of the policy's data; "" for its default
	Image     ImageSpec    `json:"image"`
	Resources Resources    `json:"resources"`
	Network   string       `json:"network"`
	Telemetry string       `json:"telemetry"`
	Outputs   []Output     `json:"outputs"`
	Resume    Resume       `json:"resume"`
}

// Resume says how a job goes on in further segments. A job of one segment has
// no signal, no time and the number 1.
type Resume struct {
	Signal        string `json:"signal"`
	BeforeSeconds int64  `json:"before_seconds"`
	MaxSegments   int    `json:"max_segments"`
}

// Purpose is a code of Article 53(1) with its sub-point.
type Purpose struct {
	Code string `json:"code"`
	Sub  string `json:"sub"`
}

// DatasetUse asks for a dataset at /data/<mount>.
type DatasetUse struct {
	PURI    string `json:"puri"`
	Version string `json:"version"`
	Mount   string `json:"mount"`
}

// ImageSpec is what the submitter wants the image to be made of.
type ImageSpec struct {
	Base    string   `json:"base"` // "none" or a manifest digest
	Layers  []Layer  `json:"layers"`
	Command []string `json:"command"`
	Env     []EnvVar `json:"env"`
	WorkDir string   `json:"workdir"`
	User    string   `json:"user"`
}

// Layer is one layer that the client cut.
type Layer struct {
	Class     string `json:"class"`
	MediaType string `json:"media_type"`
	Digest    string `json:"digest"`
	DiffID    string `json:"diff_id"`
	SizeBytes int64  `json:"size_bytes"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Resources are what one attempt takes; the site's kill margin is in Site.
type Resources struct {
	Nodes           int    `json:"nodes"`
	GPUsPerNode     int    `json:"gpus_per_node"`
	GPUType         string `json:"gpu_type"`
	CPUsPerNode     int    `json:"cpus_per_node"`
	MemoryMiB       int    `json:"memory_mib"`
	WalltimeSeconds int64  `json:"walltime_seconds"`
}

// Output declares a file below /out.
type Output struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

// Image is the assembled image: resolved OCI manifest and config. Every field
// of the OCI image config that can change what runs is here (P10).
type Image struct {
	Digest    string      `json:"digest"`
	Base      string      `json:"base"`   // digest of the base manifest or "none"
	Signed    bool        `json:"signed"` // its signature was verified with a pinned image key
	SignerKey string      `json:"signer_key"`
	Layers    []Layer     `json:"layers"` // in order, base layers first; class "base" for those
	Config    ImageConfig `json:"config"`
}

// ImageConfig is the OCI image config (image-spec v1.1 config.md).
type ImageConfig struct {
	Author       string            `json:"author"`
	Architecture string            `json:"architecture"`
	OS           string            `json:"os"`
	OSVersion    string            `json:"os_version"`
	OSFeatures   []string          `json:"os_features"`
	Variant      string            `json:"variant"`
	User         string            `json:"user"`
	ExposedPorts []string          `json:"exposed_ports"`
	Env          []EnvVar          `json:"env"`
	Entrypoint   []string          `json:"entrypoint"`
	Cmd          []string          `json:"cmd"`
	Volumes      []string          `json:"volumes"`
	WorkDir      string            `json:"workdir"`
	Labels       map[string]string `json:"labels"`
	StopSignal   string            `json:"stop_signal"`
	ArgsEscaped  bool              `json:"args_escaped"`
	DiffIDs      []string          `json:"diff_ids"`
}

// Submitter is the person and how they signed in, recorded truthfully.
type Submitter struct {
	ID     string   `json:"id"`
	Kind   string   `json:"kind"`   // "natural" or "service"
	Method string   `json:"method"` // "local_token"; "oidc" in a later version
	MFA    bool     `json:"mfa"`
	Roles  []string `json:"roles"`
}

// Permit is a permit document and what verifying it established.
type Permit struct {
	Document  permit.Document `json:"document"`
	Digest    string          `json:"digest"`     // of the compact JWS
	Verified  bool            `json:"verified"`   // signature by a trusted issuer key
	InScope   bool            `json:"in_scope"`   // regime, datasets and holders within the issuer's scope
	IssuerKey string          `json:"issuer_key"` // key id
	Latest    bool            `json:"latest"`     // no newer version is known
	// Status is the newest status statement, "" when there is none.
	Status           string `json:"status"`
	StatusAgeSeconds int64  `json:"status_age_seconds"`
	StatusMaxAge     int64  `json:"status_max_age_seconds"`
	// GPUSecondsUsed is what jobs under this permit used or reserved so far.
	GPUSecondsUsed int64 `json:"gpu_seconds_used"`
}

// Site is the site considered. Capabilities are as measured, never assumed.
type Site struct {
	ID                string    `json:"id"`
	Name              string    `json:"name"`
	Country           string    `json:"country"`
	Operator          string    `json:"operator"`
	Scheduler         string    `json:"scheduler"`
	Assurance         string    `json:"assurance"` // "advisory" or "enforced"
	Isolation         string    `json:"isolation"` // "userns" or "none"
	Account           string    `json:"account"`   // the submitter's account there; "" for none
	MFA               bool      `json:"mfa"`
	Quarantine        bool      `json:"quarantine"`
	TelemetryBudget   bool      `json:"telemetry_budget"`
	Airlock           bool      `json:"airlock"`
	FabricIsolated    bool      `json:"fabric_isolated"` // a job's nodes reach each other and nobody else
	GPUs              []GPUType `json:"gpus"`
	MaxNodes          int       `json:"max_nodes"`
	CPUsPerNode       int       `json:"cpus_per_node"`
	MemoryMiB         int       `json:"memory_mib"`
	MaxWallSeconds    int64     `json:"max_wall_seconds"`
	KillMarginSeconds int64     `json:"kill_margin_seconds"`
	Datasets          []Dataset `json:"datasets"` // registry entries of the datasets asked for
}

// GPUType is one kind of GPU at a site.
type GPUType struct {
	Name    string `json:"name"`
	PerNode int    `json:"per_node"`
}

// Dataset is what the site's registry says of a dataset. Its path stays there.
type Dataset struct {
	PURI       string   `json:"puri"`
	Version    string   `json:"version"`
	Digest     string   `json:"digest"`
	Format     string   `json:"format"`
	Holder     string   `json:"holder"`
	Country    string   `json:"country"`
	Categories []string `json:"categories"`
	Synthetic  bool     `json:"synthetic"`
}

// Budget is the allocation that the job would reserve from, or has reserved
// from. GPU-seconds are charged ones, GPUs × weight × time, but for GPUSeconds.
// What the job itself holds already is not counted as open.
type Budget struct {
	Allocation     string `json:"allocation"`  // "" when the project has none at the site
	AccessMode     string `json:"access_mode"` // under which the grant was given
	Granted        int64  `json:"granted"`
	Available      int64  `json:"available"`
	Needed         int64  `json:"needed"`
	GPUSeconds     int64  `json:"gpu_seconds"` // needed, not weighted: what a permit counts
	Weight         int64  `json:"weight"`      // thousandths
	Frozen         bool   `json:"frozen"`
	MaxGPUs        int    `json:"max_gpus"` // at once; 0 sets no limit, here and below
	OpenGPUs       int    `json:"open_gpus"`
	MaxJobs        int    `json:"max_jobs"`
	OpenJobs       int    `json:"open_jobs"`
	MaxWallSeconds int64  `json:"max_wall_seconds"`
	ValidFrom      string `json:"valid_from"`
	ValidUntil     string `json:"valid_until"`
}
