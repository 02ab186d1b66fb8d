package wire

import (
	"math"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Allocation is GPU time granted to a project at a site. GPU-hours are charged
// ones: hours of GPUs times the weight of their type.
type Allocation struct {
	ID             string             `json:"id"`
	Project        string             `json:"project"`
	SiteID         string             `json:"site_id"`
	Site           string             `json:"site,omitempty"`
	AccessMode     string             `json:"access_mode"`
	GPUHours       float64            `json:"gpu_hours"`
	Reserved       float64            `json:"reserved_gpu_hours"`
	Used           float64            `json:"used_gpu_hours"`
	Available      float64            `json:"available_gpu_hours" doc:"Negative after an overrun."`
	ValidFrom      time.Time          `json:"valid_from"`
	ValidUntil     time.Time          `json:"valid_until"`
	Weights        map[string]float64 `json:"weights,omitempty" doc:"Price by type of GPU; 1 for others."`
	MaxGPUs        int                `json:"max_gpus,omitempty" doc:"At once; left out, no limit, here and below."`
	MaxJobs        int                `json:"max_jobs,omitempty"`
	MaxWallSeconds int64              `json:"max_wall_seconds,omitempty" doc:"Of one job."`
	OpenGPUs       int                `json:"open_gpus"`
	OpenJobs       int                `json:"open_jobs"`
	Frozen         bool               `json:"frozen"`
	Version        int64              `json:"version" doc:"Of the terms; the ETag, for If-Match."`
	Acts           []AllocationAct    `json:"acts,omitempty" nullable:"false" doc:"What operators did, oldest first; when one allocation is asked for."`
}

// Allocations are allocations of the project; of all the tenant's projects for
// operators.
type Allocations struct {
	Allocations []Allocation `json:"allocations" nullable:"false"`
}

// AllocationAct is one act of an operator. Each is a leaf of the ledger.
type AllocationAct struct {
	Version     int64     `json:"version"`
	Act         string    `json:"act" enum:"create,adjust,freeze,thaw"`
	By          string    `json:"by"`
	Reason      string    `json:"reason"`
	LedgerIndex int64     `json:"ledger_index"`
	At          time.Time `json:"at"`
}

// AllocationCreate grants GPU time.
type AllocationCreate struct {
	Project        string             `json:"project,omitempty" maxLength:"64" doc:"Left out, the operator's own."`
	Site           string             `json:"site" minLength:"1" maxLength:"100" example:"local"`
	AccessMode     string             `json:"access_mode" minLength:"1" maxLength:"64" pattern:"^[a-z0-9][a-z0-9_-]*$" doc:"The operator's own word, for example the access mode of the call." example:"playground"`
	GPUHours       float64            `json:"gpu_hours" minimum:"0" maximum:"100000000" example:"100"`
	ValidFrom      *time.Time         `json:"valid_from,omitempty" doc:"Left out, now."`
	ValidUntil     time.Time          `json:"valid_until"`
	Weights        map[string]float64 `json:"weights,omitempty" doc:"Price by type of GPU, above 0 and at most 1000, in thousandths; 1 for others." example:"{\"h100\":1.5}"`
	MaxGPUs        int                `json:"max_gpus,omitempty" minimum:"0" maximum:"1000000"`
	MaxJobs        int                `json:"max_jobs,omitempty" minimum:"0" maximum:"1000000"`
	MaxWallSeconds int64              `json:"max_wall_seconds,omitempty" minimum:"0" maximum:"31622400"`
	Reason         string             `json:"reason" minLength:"1" maxLength:"1000" doc:"Kept in the ledger."`
}

// AllocationAdjust changes the terms that it names; the others stay.
type AllocationAdjust struct {
	GPUHours       *float64            `json:"gpu_hours,omitempty" minimum:"0" maximum:"100000000"`
	ValidFrom      *time.Time          `json:"valid_from,omitempty"`
	ValidUntil     *time.Time          `json:"valid_until,omitempty"`
	Weights        *map[string]float64 `json:"weights,omitempty" doc:"All of them, in the place of those there are; for reservations to come."`
	MaxGPUs        *int                `json:"max_gpus,omitempty" minimum:"0" maximum:"1000000" doc:"0 for no limit, here and below."`
	MaxJobs        *int                `json:"max_jobs,omitempty" minimum:"0" maximum:"1000000"`
	MaxWallSeconds *int64              `json:"max_wall_seconds,omitempty" minimum:"0" maximum:"31622400"`
	Reason         string              `json:"reason" minLength:"1" maxLength:"1000" doc:"Kept in the ledger."`
}

// AllocationReason is why an operator freezes or thaws.
type AllocationReason struct {
	Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"Kept in the ledger."`
}

// NewAllocation gives an allocation as it travels.
func NewAllocation(a broker.Allocation, site string) Allocation {
	h := func(s int64) float64 { return float64(s) / 3600 }
	w := Allocation{
		ID: string(a.ID), Project: string(a.Project), SiteID: string(a.Site), Site: site, AccessMode: a.AccessMode, GPUHours: h(a.GPUSeconds),
		Reserved: h(a.Reserved), Used: h(a.Used), Available: h(a.Available()), ValidFrom: a.ValidFrom, ValidUntil: a.ValidUntil,
		MaxGPUs: a.MaxGPUs, MaxJobs: a.MaxJobs, MaxWallSeconds: int64(a.MaxWall / time.Second), OpenGPUs: a.OpenGPUs, OpenJobs: a.OpenJobs,
		Frozen: a.Frozen, Version: a.Version,
	}
	if len(a.Weights) > 0 {
		w.Weights = map[string]float64{}
		for name, x := range a.Weights {
			w.Weights[name] = float64(x) / float64(broker.WeightOne)
		}
	}
	return w
}

// NewAllocationAct gives an act as it travels.
func NewAllocationAct(a broker.AllocationAct) AllocationAct {
	return AllocationAct{Version: a.Version, Act: a.Act, By: string(a.By), Reason: a.Reason, LedgerIndex: a.LedgerIndex, At: a.At}
}

// Weights reads prices to the nearest thousandth; what is no price at all
// becomes a weight that no allocation takes.
func Weights(ws map[string]float64) map[string]broker.Weight {
	if len(ws) == 0 {
		return nil
	}
	out := make(map[string]broker.Weight, len(ws))
	for name, x := range ws {
		out[name] = 0
		if x > 0 && x <= float64(broker.MaxWeight/broker.WeightOne) {
			out[name] = broker.Weight(math.Round(x * float64(broker.WeightOne)))
		}
	}
	return out
}

// GPUSeconds reads GPU-hours to the nearest second.
func GPUSeconds(hours float64) int64 { return int64(math.Round(hours * 3600)) }

// Usage is what was booked between two moments, summed by what was asked for;
// the other names are left out.
type Usage struct {
	From  time.Time  `json:"from"`
	Until time.Time  `json:"until"`
	By    []string   `json:"by" nullable:"false"`
	Rows  []UsageRow `json:"rows" nullable:"false"`
	Total UsageRow   `json:"total"`
}

// UsageRow is one sum.
type UsageRow struct {
	Project         string  `json:"project,omitempty"`
	ProjectName     string  `json:"project_name,omitempty"`
	Person          string  `json:"person,omitempty"`
	Site            string  `json:"site,omitempty"`
	Day             string  `json:"day,omitempty" doc:"UTC's, of the booking." example:"2026-11-24"`
	Attempts        int64   `json:"attempts"`
	GPUHours        float64 `json:"gpu_hours" doc:"As the site accounts them."`
	ChargedGPUHours float64 `json:"charged_gpu_hours" doc:"As booked on allocations, by weight."`
	CPUHours        float64 `json:"cpu_hours"`
	ElapsedHours    float64 `json:"elapsed_hours"`
}
