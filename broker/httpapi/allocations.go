package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger"
)

func (s *Server) allocations() {
	example := wire.Allocation{
		ID: "alc_0123456789abcdefghjkmnpqrs", Project: "prj_0123456789abcdefghjkmnpqrs", SiteID: "site_0123456789abcdefghjkmnpqrs",
		Site: "local", AccessMode: "playground", GPUHours: 100, Reserved: 0.5, Used: 12, Available: 87.5,
		ValidFrom: exampleTime(), ValidUntil: exampleTime().AddDate(1, 0, 0), Weights: map[string]float64{"h100": 1.5},
		MaxGPUs: 8, MaxJobs: 20, MaxWallSeconds: 86400, OpenGPUs: 1, OpenJobs: 1, Version: 1,
	}
	handle(s, op{
		method: http.MethodGet, path: "/v1/allocations", id: "list-allocations",
		summary: "List the project's GPU time; that of all the tenant's projects to operators", rule: signedIn,
		example: wire.Allocations{Allocations: []wire.Allocation{example}},
	}, s.listAllocations)
	handle(s, op{
		method: http.MethodPost, path: "/v1/allocations", id: "create-allocation", summary: "Grant a project GPU time at a site",
		rule: operator, status: http.StatusCreated, example: example,
	}, s.createAllocation)
	handle(s, op{
		method: http.MethodPatch, path: "/v1/allocations/{id}", id: "adjust-allocation",
		summary: "Change terms of an allocation; what jobs have reserved stays as it is", rule: operator, example: example,
	}, s.adjustAllocation)
	handle(s, op{
		method: http.MethodPost, path: "/v1/allocations/{id}/freeze", id: "freeze-allocation",
		summary: "Let an allocation take no new job; those that it has go on", rule: operator, example: example,
	}, s.freezer(broker.ActFreeze, true))
	handle(s, op{
		method: http.MethodPost, path: "/v1/allocations/{id}/thaw", id: "thaw-allocation", summary: "Let an allocation take jobs again",
		rule: operator, example: example,
	}, s.freezer(broker.ActThaw, false))
	example.Acts = []wire.AllocationAct{{Version: 1, Act: broker.ActCreate, By: "op@site.example", Reason: "call 2026-11", LedgerIndex: 7, At: exampleTime()}}
	handle(s, op{
		method: http.MethodGet, path: "/v1/allocations/{id}", id: "get-allocation", summary: "Show an allocation and what operators did with it",
		rule: signedIn, example: example,
	}, s.getAllocation)
}

// versioned is an allocation with its version as entity tag.
type versioned struct {
	ETag string `header:"ETag" doc:"The version, for If-Match."`
	Body wire.Allocation
}

func (s *Server) versioned(ctx context.Context, a broker.Allocation) (*versioned, error) {
	names, err := s.siteNames(ctx)
	if err != nil {
		return nil, err
	}
	return &versioned{ETag: strconv.Quote(strconv.FormatInt(a.Version, 10)), Body: wire.NewAllocation(a, names[a.Site])}, nil
}

func (s *Server) listAllocations(ctx context.Context, _ *struct{}) (*body[wire.Allocations], error) {
	p := caller(ctx)
	list := func() ([]broker.Allocation, error) { return s.d.Store.Allocations(ctx, p.Project) }
	if isOperator(p) {
		list = func() ([]broker.Allocation, error) { return s.d.Store.TenantAllocations(ctx, p.Tenant) }
	}
	as, err := list()
	if err != nil {
		return nil, fmt.Errorf("list allocations: %w", err)
	}
	names, err := s.siteNames(ctx)
	if err != nil {
		return nil, err
	}
	out := wire.Allocations{Allocations: []wire.Allocation{}}
	for _, a := range as {
		out.Allocations = append(out.Allocations, wire.NewAllocation(a, names[a.Site]))
	}
	return &body[wire.Allocations]{out}, nil
}

// AllocationPath names an allocation.
type AllocationPath struct {
	ID string `path:"id" maxLength:"64" example:"alc_0123456789abcdefghjkmnpqrs" doc:"The allocation's id."`
}

// allocation finds an allocation of the caller's project, or of the tenant for
// operators.
func (s *Server) allocation(ctx context.Context, id string) (broker.Allocation, error) {
	p := caller(ctx)
	if !broker.ValidID("alc", id) {
		return broker.Allocation{}, &broker.Error{
			Kind: broker.KindNotFound, Code: "not_found", Message: "no such allocation", Rule: "an allocation is named by its id, alc_…",
			Help: "list them with: valico allocation list", Who: "the site operator",
		} // without the value: it may be a secret given by mistake
	}
	a, err := s.d.Store.Allocation(ctx, p.Tenant, broker.AllocationID(id))
	if err == nil && a.Project != p.Project && !isOperator(p) {
		err = broker.NotFound("allocation", id)
	}
	if err != nil {
		return broker.Allocation{}, fmt.Errorf("read allocation: %w", err)
	}
	return a, nil
}

func (s *Server) getAllocation(ctx context.Context, in *AllocationPath) (*versioned, error) {
	a, err := s.allocation(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	acts, err := s.d.Store.AllocationActs(ctx, a.Tenant, a.ID)
	if err != nil {
		return nil, fmt.Errorf("list acts: %w", err)
	}
	out, err := s.versioned(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, c := range acts {
		out.Body.Acts = append(out.Body.Acts, wire.NewAllocationAct(c))
	}
	return out, nil
}

type createAllocationInput struct {
	CreateKey
	Body wire.AllocationCreate
}

// createAllocation grants GPU time. The same Idempotency-Key again makes no
// second grant: the identifier comes from it, and its second use is a conflict.
func (s *Server) createAllocation(ctx context.Context, in *createAllocationInput) (*versioned, error) {
	p, b := caller(ctx), in.Body
	project := p.Project
	if b.Project != "" && b.Project != string(p.Project) {
		var err error
		if project, err = s.projectOf(ctx, p.Tenant, b.Project); err != nil {
			return nil, err
		}
	}
	site, err := s.d.Store.Site(ctx, b.Site)
	if err != nil {
		return nil, fmt.Errorf("read site: %w", err)
	}
	a := broker.Allocation{
		ID: broker.NewID[broker.AllocationID]("alc"), Tenant: p.Tenant, Project: project, Site: site.ID, AccessMode: b.AccessMode,
		GPUSeconds: wire.GPUSeconds(b.GPUHours), ValidFrom: s.now(), ValidUntil: micro(b.ValidUntil), Weights: wire.Weights(b.Weights),
		MaxGPUs: b.MaxGPUs, MaxJobs: b.MaxJobs, MaxWall: time.Duration(b.MaxWallSeconds) * time.Second,
	}
	if in.IdempotencyKey != "" {
		a.ID = broker.IDOf[broker.AllocationID]("alc", string(p.Tenant), string(p.ID), in.IdempotencyKey)
	}
	if b.ValidFrom != nil {
		a.ValidFrom = micro(*b.ValidFrom)
	}
	if err := weightsKnown(a.Weights, site); err != nil {
		return nil, err
	}
	if a, err = s.grant(ctx, a, b.Reason); err != nil {
		return nil, err
	}
	return s.versioned(ctx, a)
}

// grant records a grant of the caller's.
func (s *Server) grant(ctx context.Context, a broker.Allocation, reason string) (broker.Allocation, error) {
	a.Version = 1
	act, e, err := s.act(ctx, broker.ActCreate, a, reason)
	if err != nil {
		return broker.Allocation{}, err
	}
	a, err = s.d.Store.CreateAllocation(ctx, a, act, e)
	if err != nil {
		return broker.Allocation{}, fmt.Errorf("create allocation: %w", err)
	}
	return a, nil
}

// weightsKnown refuses the weight of a type of GPU that the site has not: it
// would be a slip of the pen that charges the wrong price.
func weightsKnown(ws map[string]broker.Weight, site broker.Site) error {
	known := make([]string, 0, len(site.GPUs))
	for _, g := range site.GPUs {
		known = append(known, g.Name)
	}
	for name := range ws {
		if !slices.Contains(known, name) {
			return &broker.Error{
				Kind: broker.KindInvalid, Code: "gpu_type_unknown", Message: "the site has no such type of GPU", Value: name,
				Rule: "a weight is of a type of GPU of the site: " + strings.Join(known, ", "), Help: "correct the name", Who: "you",
			}
		}
	}
	return nil
}

// AllocationChange names the version that a change is made to.
type AllocationChange struct {
	AllocationPath
	IfMatch string `header:"If-Match" required:"true" pattern:"^\"[0-9]{1,18}\"$" doc:"The ETag of the allocation as the caller has seen it." example:"\"1\""`
}

type adjustInput struct {
	AllocationChange
	Body wire.AllocationAdjust
}

func (s *Server) adjustAllocation(ctx context.Context, in *adjustInput) (*versioned, error) {
	return s.change(ctx, in.AllocationChange, broker.ActAdjust, in.Body.Reason, func(a *broker.Allocation) error {
		b := in.Body
		if b.GPUHours != nil {
			a.GPUSeconds = wire.GPUSeconds(*b.GPUHours)
		}
		if b.ValidFrom != nil {
			a.ValidFrom = micro(*b.ValidFrom)
		}
		if b.ValidUntil != nil {
			a.ValidUntil = micro(*b.ValidUntil)
		}
		if b.MaxGPUs != nil {
			a.MaxGPUs = *b.MaxGPUs
		}
		if b.MaxJobs != nil {
			a.MaxJobs = *b.MaxJobs
		}
		if b.MaxWallSeconds != nil {
			a.MaxWall = time.Duration(*b.MaxWallSeconds) * time.Second
		}
		if b.Weights == nil {
			return nil
		}
		a.Weights = wire.Weights(*b.Weights)
		site, err := s.d.Store.Site(ctx, string(a.Site))
		if err != nil {
			return fmt.Errorf("read site: %w", err)
		}
		return weightsKnown(a.Weights, site)
	})
}

type freezeInput struct {
	AllocationChange
	Body wire.AllocationReason
}

func (s *Server) freezer(act string, frozen bool) func(context.Context, *freezeInput) (*versioned, error) {
	return func(ctx context.Context, in *freezeInput) (*versioned, error) {
		return s.change(ctx, in.AllocationChange, act, in.Body.Reason, func(a *broker.Allocation) error {
			a.Frozen = frozen
			return nil
		})
	}
}

// change gives an allocation new terms, if it still has the version that the
// caller named.
func (s *Server) change(ctx context.Context, in AllocationChange, act, reason string, f func(*broker.Allocation) error) (*versioned, error) {
	a, err := s.allocation(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	tag, _ := strconv.Unquote(in.IfMatch) // its pattern was checked
	if a.Version, err = strconv.ParseInt(tag, 10, 64); err != nil {
		return nil, fmt.Errorf("read If-Match: %w", err)
	}
	if err := f(&a); err != nil {
		return nil, err
	}
	after := a
	after.Version++
	c, e, err := s.act(ctx, act, after, reason)
	if err != nil {
		return nil, err
	}
	if a, err = s.d.Store.ChangeAllocation(ctx, a, c, e); err != nil {
		return nil, fmt.Errorf("%s allocation: %w", act, err)
	}
	return s.versioned(ctx, a)
}

// act is an act of the caller's with the entry that the ledger keeps of it.
func (s *Server) act(ctx context.Context, act string, after broker.Allocation, reason string) (broker.AllocationAct, ledger.Entry, error) {
	p, now := caller(ctx), s.now()
	doc, err := ledger.EncodeAllocation(act, after, p.ID, reason, now)
	if err != nil {
		return broker.AllocationAct{}, ledger.Entry{}, fmt.Errorf("write the act down: %w", err)
	}
	return broker.AllocationAct{Allocation: after.ID, Act: act, By: p.ID, Reason: reason, Document: doc, At: now}, ledger.Entry{
		Kind: ledger.KindAllocation, Tenant: after.Tenant, Permit: ledger.ProjectChain(after.Project), Person: p.ID, Document: doc, At: now,
	}, nil
}

func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
