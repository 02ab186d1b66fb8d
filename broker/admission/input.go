package admission

import (
	"math"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/policy"
	"github.com/valico-hpc/valico/policy/permit"
)

// Principal is who asks, and how they proved it. It is recorded truthfully: a
// local token is not multi-factor authentication.
type Principal struct {
	Person broker.Person
	Method string // "local_token"
	MFA    bool
}

// Facts are everything that one decision depends on.
type Facts struct {
	Moment     string // policy.MomentAdmission or policy.MomentClearance
	Now        time.Time
	Spec       broker.JobSpec
	Principal  Principal
	Permit     PermitFacts
	Site       broker.Site
	Allocation broker.Allocation // zero when the project has none at the site
	// Held is what the job itself has reserved already: at clearance its own
	// reservation must not count against it, and its price stays. Zero before.
	Held  broker.Reservation
	Image *policy.Image // at clearance only
	// Segment is the number of the attempt that this is about; 0 is the first.
	Segment int
}

// PermitFacts are a permit and what verifying it established.
type PermitFacts struct {
	Document       permit.Document
	Digest         broker.Digest
	Verified       bool
	InScope        bool
	IssuerKey      string
	Latest         bool
	Status         string
	StatusAt       time.Time
	StatusMaxAge   time.Duration
	GPUSecondsUsed int64
}

// ceiling is what the permit grants in all, in GPU-seconds; nil for no ceiling.
func (p PermitFacts) ceiling() *int64 {
	if p.Document.SPE.GPUHours <= 0 {
		return nil
	}
	n := int64(math.Min(p.Document.SPE.GPUHours*3600, math.MaxInt64/2))
	return &n
}

// Input maps facts to policy input. It is pure: equal facts give equal input.
func Input(f Facts) policy.Input {
	return policy.Input{
		Schema:    policy.InputSchema,
		Moment:    f.Moment,
		Now:       receipt.Stamp(f.Now),
		Job:       jobInput(f.Spec),
		Segment:   max(1, f.Segment),
		Image:     f.Image,
		Submitter: submitterInput(f.Principal),
		Permits:   []policy.Permit{permitInput(f)},
		Site:      siteInput(f.Site, f.Spec.Datasets, f.Principal.Person.ID),
		Budget:    budgetInput(f),
	}
}

func jobInput(s broker.JobSpec) policy.Job {
	j := policy.Job{
		Name: s.Name, Permit: string(s.Permit), Activity: s.Activity, Site: s.Site, Priority: s.Priority,
		Purpose: policy.Purpose{Code: s.Purpose.Code, Sub: s.Purpose.Sub},
		Network: s.Network, Telemetry: s.Telemetry,
		Datasets: []policy.DatasetUse{}, Outputs: []policy.Output{},
		Image: policy.ImageSpec{
			Base: s.Image.Base, WorkDir: s.Image.WorkDir, User: s.Image.User,
			Command: append([]string{}, s.Image.Command...),
			Layers:  []policy.Layer{}, Env: envInput(s.Image.Env),
		},
		Resources: policy.Resources{
			Nodes: s.Resources.Nodes, GPUsPerNode: s.Resources.GPUsPerNode, GPUType: s.Resources.GPUType,
			CPUsPerNode: s.Resources.CPUsPerNode, MemoryMiB: s.Resources.MemoryMiB,
			WalltimeSeconds: seconds(s.Resources.Walltime),
		},
	}
	for _, d := range s.Datasets {
		j.Datasets = append(j.Datasets, policy.DatasetUse{PURI: d.PURI, Version: d.Version, Mount: d.Mount})
	}
	for _, l := range s.Image.Layers {
		j.Image.Layers = append(j.Image.Layers, policy.Layer{
			Class: l.Class, MediaType: l.MediaType, Digest: string(l.Digest), DiffID: string(l.DiffID), SizeBytes: l.SizeBytes,
		})
	}
	for _, o := range s.Outputs {
		j.Outputs = append(j.Outputs, policy.Output{Path: o.Path, Type: o.Type})
	}
	j.Resume = policy.Resume{Signal: s.Resume.Signal, BeforeSeconds: seconds(s.Resume.Before), MaxSegments: s.Resume.Segments()}
	return j
}

func envInput(env []broker.EnvVar) []policy.EnvVar {
	out := make([]policy.EnvVar, 0, len(env))
	for _, e := range env {
		out = append(out, policy.EnvVar{Name: e.Name, Value: e.Value})
	}
	return out
}

func submitterInput(p Principal) policy.Submitter {
	return policy.Submitter{
		ID: string(p.Person.ID), Kind: "natural", Method: p.Method, MFA: p.MFA,
		Roles: append([]string{}, p.Person.Roles...),
	}
}

func permitInput(f Facts) policy.Permit {
	p := f.Permit
	return policy.Permit{
		Document: p.Document, Digest: string(p.Digest), Verified: p.Verified, InScope: p.InScope,
		IssuerKey: p.IssuerKey, Latest: p.Latest, Status: p.Status,
		StatusAgeSeconds: seconds(f.Now.Sub(p.StatusAt)), StatusMaxAge: seconds(p.StatusMaxAge),
		GPUSecondsUsed: p.GPUSecondsUsed - f.Held.Unweighted,
	}
}

func siteInput(s broker.Site, uses []broker.DatasetUse, submitter broker.PersonID) policy.Site {
	in := policy.Site{
		ID: string(s.ID), Name: s.Name, Country: s.Country, Operator: s.Operator, Scheduler: s.Scheduler,
		Assurance: string(s.Assurance), Isolation: string(s.Isolation), Account: s.Accounts[submitter],
		MFA: s.MFA, Quarantine: s.Quarantine, TelemetryBudget: s.TelemetryBudget, Airlock: s.Airlock,
		FabricIsolated: s.FabricIsolated,
		GPUs:           []policy.GPUType{}, MaxNodes: s.MaxNodes, CPUsPerNode: s.CPUs, MemoryMiB: s.MemoryMiB,
		MaxWallSeconds: seconds(s.MaxWall), KillMarginSeconds: seconds(s.KillMargin), Datasets: []policy.Dataset{},
	}
	for _, g := range s.GPUs {
		in.GPUs = append(in.GPUs, policy.GPUType{Name: g.Name, PerNode: g.PerNode})
	}
	for _, u := range uses {
		d, ok := s.Dataset(u)
		if !ok {
			continue
		}
		in.Datasets = append(in.Datasets, policy.Dataset{
			PURI: d.PURI, Version: d.Version, Digest: string(d.Digest), Format: d.Format, Holder: d.Holder,
			Country: d.Country, Categories: append([]string{}, d.Categories...), Synthetic: d.Synthetic,
		})
	}
	return in
}

// weight is what the job's GPUs are charged: as reserved, or as a reservation
// would be now.
func (f Facts) weight() broker.Weight {
	if f.Held.Weight > 0 {
		return f.Held.Weight
	}
	return f.Allocation.Weight(f.Spec.Resources.GPUType, f.Site.GPUs)
}

// reservation is what the job needs at the site: GPUs × weight × (walltime +
// the site's kill margin).
func (f Facts) reservation() broker.Reservation {
	r := f.Spec.Resources
	n := r.GPUSeconds(f.Site.KillMargin)
	return broker.Reservation{
		Allocation: f.Allocation.ID, GPUSeconds: f.weight().Charge(n), Unweighted: n, Weight: f.weight(), GPUs: r.GPUs(),
	}
}

func budgetInput(f Facts) policy.Budget {
	a, need := f.Allocation, f.reservation()
	b := policy.Budget{
		Allocation: string(a.ID), AccessMode: a.AccessMode, Granted: a.GPUSeconds, Available: a.Available() + f.Held.GPUSeconds,
		Needed: need.GPUSeconds, GPUSeconds: need.Unweighted, Weight: int64(need.Weight), Frozen: a.Frozen,
		MaxGPUs: a.MaxGPUs, OpenGPUs: a.OpenGPUs - f.Held.GPUs, MaxJobs: a.MaxJobs, OpenJobs: a.OpenJobs,
		MaxWallSeconds: int64(a.MaxWall / time.Second),
	}
	if f.Held.ID != "" {
		b.OpenJobs--
	}
	if a.ID != "" {
		b.ValidFrom, b.ValidUntil = receipt.Stamp(a.ValidFrom), receipt.Stamp(a.ValidUntil)
	}
	return b
}

// seconds rounds up, so that a limit is never passed by a fraction.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
