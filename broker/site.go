package broker

import "time"

// Assurance says what a site enforces against the submitting person.
type Assurance string

// The assurances. Only enforced sites may ever hold real data.
const (
	AssuranceAdvisory Assurance = "advisory"
	AssuranceEnforced Assurance = "enforced"
)

// Isolation is how a workload is shut in on the node.
type Isolation string

// The isolations, as measured on the node.
const (
	// IsolationUserNS: user, mount, pid, network, ipc and uts namespaces.
	IsolationUserNS Isolation = "userns"
	// IsolationNone: none; synthetic data only.
	IsolationNone Isolation = "none"
)

// Site is a place that runs work orders.
type Site struct {
	ID         SiteID
	Name       string
	Country    string // ISO 3166-1 alpha-2
	Operator   string
	Scheduler  string // "slurm", "nomad" or "local"
	Assurance  Assurance
	Isolation  Isolation
	GPUs       []GPUType
	MaxNodes   int
	CPUs       int // per node
	MemoryMiB  int // per node
	MaxWall    time.Duration
	MaxQueue   int           // jobs that may wait at its scheduler at once; 0 sets no limit
	KillMargin time.Duration // from TERM to the end, added to each reservation
	Accounts   map[PersonID]string
	Datasets   []Dataset
	// Capabilities that real data need; each is false until measured.
	MFA, Quarantine, TelemetryBudget, Airlock bool
	// FabricIsolated: the nodes of a job reach each other and nobody else.
	FabricIsolated bool
	CreatedAt      time.Time
	Operation      SiteOperation // what the operator lets happen there
}

// GPUType is one kind of GPU at a site.
type GPUType struct {
	Name    string // the scheduler's name, for example "h100"
	PerNode int
}

// Dataset is an entry of a site's dataset registry.
type Dataset struct {
	PURI       string
	Version    string
	Path       string // at the site; never sent to a scheduler
	Digest     Digest // of the dataset's manifest
	Format     string
	Holder     string
	Country    string
	Categories []string // Article 51(1) letters
	Synthetic  bool
	CheckedAt  time.Time
}

// Dataset finds the registry entry that a use means: the same PURI, whole, and
// the same version unless the use names none.
func (s Site) Dataset(u DatasetUse) (Dataset, bool) {
	for _, d := range s.Datasets {
		if d.PURI == u.PURI && (u.Version == "" || u.Version == d.Version) {
			return d, true
		}
	}
	return Dataset{}, false
}
