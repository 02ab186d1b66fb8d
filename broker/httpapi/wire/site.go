package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Site is a site. Accounts and the datasets' paths are shown to operators only.
type Site struct {
	ID                string            `json:"id,omitempty" readOnly:"true"`
	Name              string            `json:"name" minLength:"1" maxLength:"100" pattern:"^[a-z0-9][a-z0-9.-]*$" example:"local"`
	Country           string            `json:"country" pattern:"^[A-Z]{2}$" example:"IT"`
	Operator          string            `json:"operator" minLength:"1" maxLength:"200" example:"Example site operator"`
	Scheduler         string            `json:"scheduler" enum:"slurm,nomad,local" example:"local"`
	Assurance         string            `json:"assurance" enum:"advisory,enforced" example:"advisory"`
	Isolation         string            `json:"isolation" enum:"userns,none" example:"userns"`
	GPUs              []GPUType         `json:"gpus,omitempty" nullable:"false"`
	MaxNodes          int               `json:"max_nodes" minimum:"1" example:"1"`
	CPUsPerNode       int               `json:"cpus_per_node" minimum:"1" example:"4"`
	MemoryMiB         int               `json:"memory_mib" minimum:"1" example:"8192"`
	MaxWallSeconds    int64             `json:"max_wall_seconds" minimum:"1" example:"3600"`
	MaxQueue          int               `json:"max_queue,omitempty" minimum:"0" doc:"Jobs that may wait at its scheduler at once; left out, no limit." example:"200"`
	KillMarginSeconds int64             `json:"kill_margin_seconds" minimum:"0" example:"30"`
	Accounts          map[string]string `json:"accounts,omitempty" doc:"Person id to account."`
	Account           string            `json:"account,omitempty" readOnly:"true" doc:"The caller's own account there."`
	Datasets          []Dataset         `json:"datasets,omitempty" nullable:"false"`
	MFA               bool              `json:"mfa,omitempty"`
	Quarantine        bool              `json:"quarantine,omitempty"`
	TelemetryBudget   bool              `json:"telemetry_budget,omitempty"`
	FabricIsolated    bool              `json:"fabric_isolated,omitempty" doc:"The nodes of a job reach each other and nobody else, as measured."`
	Airlock           bool              `json:"airlock,omitempty"`
	CreatedAt         *time.Time        `json:"created_at,omitempty" readOnly:"true"`
	Operation         *SiteOperation    `json:"operation,omitempty" readOnly:"true" doc:"What an operator lets happen there."`
	Acts              []SiteAct         `json:"acts,omitempty" nullable:"false" readOnly:"true" doc:"What operators did, oldest first; to operators, when one site is asked for."`
}

// GPUType is one kind of GPU at a site.
type GPUType struct {
	Name    string `json:"name" minLength:"1" maxLength:"64" example:"h100"`
	PerNode int    `json:"per_node" minimum:"1" example:"4"`
}

// Dataset is an entry of a site's dataset registry.
type Dataset struct {
	PURI       string     `json:"puri" format:"uri" maxLength:"2048" example:"https://data.example/dataset/synthetic-screening"`
	Version    string     `json:"version" minLength:"1" maxLength:"100" example:"1"`
	Path       string     `json:"path,omitempty" maxLength:"4096"`
	Digest     string     `json:"digest" pattern:"^sha256:[0-9a-f]{64}$" example:"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"`
	Format     string     `json:"format" maxLength:"100" example:"text/csv"`
	Holder     string     `json:"holder" maxLength:"200" example:"holder-sandbox"`
	Country    string     `json:"country" pattern:"^[A-Z]{2}$" example:"IT"`
	Categories []string   `json:"categories" nullable:"false" example:"[\"p\"]"`
	Synthetic  bool       `json:"synthetic"`
	CheckedAt  *time.Time `json:"checked_at,omitempty"`
}

// SiteAdd admits a site and may grant the operator's project GPU time there.
type SiteAdd struct {
	Site     Site       `json:"site"`
	Agent    *AgentKeys `json:"agent,omitempty" doc:"Of a site whose agent runs there; without it the agent runs in the broker."`
	GPUHours float64    `json:"gpu_hours,omitempty" minimum:"0" maximum:"100000000" doc:"Granted to the project." example:"100"`
	Days     int        `json:"days,omitempty" minimum:"1" maximum:"3660" default:"365" doc:"How long the grant is valid."`
}

// Sites are the admitted sites.
type Sites struct {
	Sites []Site `json:"sites" nullable:"false"`
}

// SiteCheck says what Valico can do at a site, and as whom.
type SiteCheck struct {
	Site   string  `json:"site"`
	Checks []Check `json:"checks" nullable:"false"`
}

// Check is one finding at a site.
type Check struct {
	Name  string `json:"name" example:"isolation"`
	OK    bool   `json:"ok"`
	Found string `json:"found" example:"userns"`
	Help  string `json:"help,omitempty"`
}

// NewSite gives a site as person sees it; operators see all of it.
func NewSite(s broker.Site, person broker.PersonID, operator bool) Site {
	w := Site{
		ID: string(s.ID), Name: s.Name, Country: s.Country, Operator: s.Operator, Scheduler: s.Scheduler,
		Assurance: string(s.Assurance), Isolation: string(s.Isolation), MaxNodes: s.MaxNodes, CPUsPerNode: s.CPUs,
		MemoryMiB: s.MemoryMiB, MaxQueue: s.MaxQueue, MaxWallSeconds: int64(s.MaxWall / time.Second), KillMarginSeconds: int64(s.KillMargin / time.Second),
		Account: s.Accounts[person], MFA: s.MFA, Quarantine: s.Quarantine, TelemetryBudget: s.TelemetryBudget, FabricIsolated: s.FabricIsolated,
		Airlock: s.Airlock, CreatedAt: moment(s.CreatedAt),
	}
	for _, g := range s.GPUs {
		w.GPUs = append(w.GPUs, GPUType(g))
	}
	for _, d := range s.Datasets {
		e := Dataset{
			PURI: d.PURI, Version: d.Version, Digest: string(d.Digest), Format: d.Format, Holder: d.Holder,
			Country: d.Country, Categories: append([]string{}, d.Categories...), Synthetic: d.Synthetic, CheckedAt: moment(d.CheckedAt),
		}
		if operator {
			e.Path = d.Path
		}
		w.Datasets = append(w.Datasets, e)
	}
	if operator {
		w.Accounts = map[string]string{}
		for p, a := range s.Accounts {
			w.Accounts[string(p)] = a
		}
	}
	return w
}

// Noun is the site; its id and moment of admission are the broker's to give.
func (w Site) Noun() broker.Site {
	s := broker.Site{
		ID: broker.SiteID(w.ID), Name: w.Name, Country: w.Country, Operator: w.Operator, Scheduler: w.Scheduler,
		Assurance: broker.Assurance(w.Assurance), Isolation: broker.Isolation(w.Isolation), MaxNodes: w.MaxNodes,
		CPUs: w.CPUsPerNode, MemoryMiB: w.MemoryMiB, MaxQueue: w.MaxQueue, MaxWall: time.Duration(w.MaxWallSeconds) * time.Second,
		KillMargin: time.Duration(w.KillMarginSeconds) * time.Second, Accounts: map[broker.PersonID]string{},
		MFA: w.MFA, Quarantine: w.Quarantine, TelemetryBudget: w.TelemetryBudget, Airlock: w.Airlock,
		FabricIsolated: w.FabricIsolated,
	}
	for p, a := range w.Accounts {
		s.Accounts[broker.PersonID(p)] = a
	}
	for _, g := range w.GPUs {
		s.GPUs = append(s.GPUs, broker.GPUType(g))
	}
	for _, d := range w.Datasets {
		e := broker.Dataset{
			PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: broker.Digest(d.Digest), Format: d.Format,
			Holder: d.Holder, Country: d.Country, Categories: d.Categories, Synthetic: d.Synthetic,
		}
		if d.CheckedAt != nil {
			e.CheckedAt = *d.CheckedAt
		}
		s.Datasets = append(s.Datasets, e)
	}
	return s
}
