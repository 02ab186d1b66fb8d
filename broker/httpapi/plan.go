package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) plan() {
	handle(s, op{
		method: http.MethodPost, path: "/v1/plan", id: "plan-job", summary: "What would be decided now, site by site; nothing is recorded",
		rule: signedIn, example: wire.Plan{
			Verdict: "allow", Site: "local", DaysLeft: 365, PermitGPUHoursLeft: 99.5, Reviewer: "Sandbox permit authority",
			Sites: []wire.SitePlan{{Site: "local", Verdict: "allow", Reasons: []wire.Reason{}, Obligations: []string{}, GPUHours: 0.2, Segments: 1, GPUHoursInAll: 0.2, GPUHoursLeft: 100}},
		},
	}, s.planJob)
}

type planInput struct{ Body wire.JobSpec }

func (s *Server) planJob(ctx context.Context, in *planInput) (*body[wire.Plan], error) {
	p, err := s.d.Admission.Plan(ctx, admission.Request{Principal: principal(ctx), Spec: in.Body.Noun()})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	out := NewPlan(p)
	loads, err := s.d.Store.SiteLoads(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the sites' jobs: %w", err)
	}
	for i, sp := range p.Sites {
		out.Sites[i].Operation = wire.NewSiteOperation(sp.Site.Operation, loads[sp.Site.ID], isOperator(caller(ctx)))
	}
	return &body[wire.Plan]{out}, nil
}

// NewPlan gives a plan as it travels; a plan made without a server is shown in
// the same form.
func NewPlan(p admission.Plan) wire.Plan {
	w := wire.Plan{
		Verdict: string(p.Verdict), Site: p.Site, Sites: []wire.SitePlan{}, DaysLeft: p.DaysLeft,
		PermitGPUHoursLeft: p.PermitGPUHoursLeft, Reviewer: p.Reviewer,
	}
	for _, sp := range p.Sites {
		w.Sites = append(w.Sites, wire.SitePlan{
			Site: sp.Site.Name, Verdict: string(sp.Verdict), Reasons: wire.NewReasons(sp.Reasons),
			Obligations: append([]string{}, sp.Obligations...), GPUHours: sp.GPUHours, GPUHoursLeft: sp.GPUHoursLeft,
			GPUs: gpus(sp.Site), Closed: !sp.Site.Operation.Admits(),
			Segments: sp.Segments, GPUHoursInAll: sp.GPUHours * float64(sp.Segments),
		})
	}
	return w
}

// gpus is how many GPUs a site has.
func gpus(s broker.Site) int {
	n := 0
	for _, g := range s.GPUs {
		n += g.PerNode * s.MaxNodes
	}
	return n
}
