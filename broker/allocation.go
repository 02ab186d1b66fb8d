package broker

import "time"

// Weight prices a type of GPU in thousandths: 1000 charges an allocation one
// GPU-second for each GPU-second held, 500 half of one.
type Weight int64

// WeightOne is the weight of a type that an allocation does not name.
const WeightOne Weight = 1000

// MaxWeight bounds what an operator may set, so that no charge overflows.
const MaxWeight = 1000 * WeightOne

// Charge is what gpuSeconds cost, rounded up to whole GPU-seconds.
func (w Weight) Charge(gpuSeconds int64) int64 {
	return (gpuSeconds*int64(w) + int64(WeightOne) - 1) / int64(WeightOne)
}

// Allocation is a grant of GPU time to a project at a site, for one access
// mode. GPU-seconds in it are charged ones: held or used times the weight of
// the type. A limit of zero sets none.
type Allocation struct {
	ID         AllocationID
	Tenant     TenantID
	Project    ProjectID
	Site       SiteID
	AccessMode string // "playground", "fast_lane", …: data, not constants
	GPUSeconds int64  // granted
	Reserved   int64  // GPU-seconds set aside by open reservations
	Used       int64  // GPU-seconds booked; may exceed GPUSeconds by overrun
	ValidFrom  time.Time
	ValidUntil time.Time
	Weights    map[string]Weight // by type of GPU; WeightOne for others
	MaxGPUs    int               // held by open reservations at once
	MaxJobs    int               // with an open reservation at once
	MaxWall    time.Duration     // of one job
	OpenGPUs   int               // held by open reservations now
	OpenJobs   int               // with an open reservation now
	Frozen     bool              // takes no new reservation; those there are go on
	Version    int64             // for optimistic locking; of the terms, not of what is reserved or used
}

// Available is what a new reservation may take, in GPU-seconds; overrun makes
// it negative.
func (a Allocation) Available() int64 { return a.GPUSeconds - a.Reserved - a.Used }

// Weight is what a job with GPUs of a type is charged at a site with these
// types. A job that takes any type is charged the dearest that it could get.
func (a Allocation) Weight(gpuType string, at []GPUType) Weight {
	of := func(name string) Weight {
		if w, ok := a.Weights[name]; ok {
			return w
		}
		return WeightOne
	}
	if gpuType != "" || len(at) == 0 {
		return of(gpuType)
	}
	var dearest Weight
	for _, g := range at {
		dearest = max(dearest, of(g.Name))
	}
	return dearest
}

// Reservation is GPU time set aside for one attempt until it is settled. It is
// settled at the weight that it was made with, whatever the allocation says
// by then.
type Reservation struct {
	ID         ReservationID
	Allocation AllocationID
	Job        JobID
	GPUSeconds int64  // charged: Weight × Unweighted
	Unweighted int64  // GPUs × (walltime + kill margin): what permits count
	Weight     Weight // of the job's type of GPU
	GPUs       int
	Settled    bool
	Booked     int64 // charged GPU-seconds when settled
}

// Acts of an operator on an allocation.
const (
	ActCreate = "create"
	ActAdjust = "adjust"
	ActFreeze = "freeze"
	ActThaw   = "thaw"
)

// AllocationAct is one act of an operator, as the ledger keeps it.
type AllocationAct struct {
	Allocation  AllocationID
	Version     int64 // of the allocation after it
	Act         string
	By          PersonID
	Reason      string
	Document    []byte // the exact bytes that the ledger commits to
	LedgerIndex int64
	At          time.Time
}

// UsageQuery asks for what was booked between two moments.
type UsageQuery struct {
	Tenant      TenantID
	Project     ProjectID // "" for all of the tenant
	From, Until time.Time // of the booking, until exclusive
}

// UsageRow sums the attempts of one person at one site that were booked on one
// day. A day is UTC's.
type UsageRow struct {
	Project     ProjectID
	ProjectName string
	Person      PersonID
	Site        SiteID
	SiteName    string
	Day         string // 2006-01-02
	Attempts    int64
	GPUSeconds  int64 // as the site accounts them
	Charged     int64 // GPU-seconds booked on allocations
	CPUSeconds  int64
	Elapsed     time.Duration
}
