package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/httpapi"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/policy"
)

// offlineOptions are the files from which a plan is made without a server.
type offlineOptions struct {
	permit, status, person string
	sites, trust           []string
	gpuHours               float64
	statusMaxAge           time.Duration
}

func (o *offlineOptions) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.permit, "permit", "", "file with the signed permit; plans without a server")
	f.StringVar(&o.status, "status", "", "file with the permit's signed status")
	f.StringArrayVar(&o.sites, "site", nil, "file that describes a site; may be repeated")
	f.StringArrayVar(&o.trust, "trust", nil, "file with the authorities' keys; may be repeated")
	f.StringVar(&o.person, "person", "", "who would submit, as the permit writes it")
	f.Float64Var(&o.gpuHours, "gpu-hours", 0, "GPU-hours that the project has at each site")
	f.DurationVar(&o.statusMaxAge, "status-max-age", 15*time.Minute, "how old a status may be")
}

func (o *offlineOptions) check() error {
	var missing string
	switch {
	case o.permit == "" && (o.status != "" || len(o.sites) > 0 || len(o.trust) > 0 || o.person != "" || o.gpuHours != 0):
		missing = "--permit"
	case o.permit == "":
		return nil
	case len(o.sites) == 0:
		missing = "--site"
	case len(o.trust) == 0:
		missing = "--trust"
	case o.person == "":
		missing = "--person"
	default:
		return nil
	}
	return invalid("usage", missing+" is missing", "a plan without a server needs --permit, --site, --trust and --person", "", "run valico plan --help")
}

// plan evaluates the job with the embedded policy, as a broker with these
// files would.
func (o *offlineOptions) plan(ctx context.Context, spec broker.JobSpec, now time.Time) (wire.Plan, error) {
	trust, err := o.readTrust()
	if err != nil {
		return wire.Plan{}, err
	}
	jws, err := readToken("the permit", o.permit)
	if err != nil {
		return wire.Plan{}, err
	}
	rec := broker.PermitRecord{JWS: jws, Digest: broker.DigestOf(jws), At: now}
	if o.status != "" {
		if rec.Status, err = readToken("the status", o.status); err != nil {
			return wire.Plan{}, err
		}
	}
	engine, err := policy.New(ctx)
	if err != nil {
		return wire.Plan{}, err
	}
	facts := admission.Facts{
		Moment: policy.MomentAdmission, Now: now.UTC().Truncate(time.Microsecond), Spec: spec, Permit: trust.Check(rec),
		Principal: admission.Principal{
			Person: broker.Person{ID: broker.PersonID(o.person), Roles: []string{broker.RoleDeveloper}}, Method: "local_token",
		},
	}
	var budgets []admission.SiteBudget
	for _, path := range o.sites {
		b, err := o.budget(path, now)
		if err != nil {
			return wire.Plan{}, err
		}
		if spec.Site == "" || spec.Site == b.Site.Name {
			budgets = append(budgets, b)
		}
	}
	p, err := admission.PlanSites(ctx, engine, facts, budgets)
	if err != nil {
		return wire.Plan{}, err
	}
	return httpapi.NewPlan(p), nil
}

func (o *offlineOptions) readTrust() (admission.Trust, error) {
	t := admission.Trust{StatusMaxAge: o.statusMaxAge}
	for _, path := range o.trust {
		b, err := readFile("the authorities' keys", path)
		if err != nil {
			return t, err
		}
		a, err := order.ParseAuthorities(b)
		if err != nil {
			return t, err
		}
		t.Issuers, t.StatusKeys = append(t.Issuers, a.Permit...), append(t.StatusKeys, a.Status...)
	}
	return t, nil
}

// budget is a site file and the GPU-hours that were said to be there.
func (o *offlineOptions) budget(path string, now time.Time) (admission.SiteBudget, error) {
	w, err := readSite(path)
	if err != nil {
		return admission.SiteBudget{}, err
	}
	b := admission.SiteBudget{Site: w.Noun()}
	if o.gpuHours > 0 {
		b.Allocation = broker.Allocation{
			ID: "alc_plan", GPUSeconds: int64(o.gpuHours * 3600), ValidFrom: now.Add(-time.Hour), ValidUntil: now.AddDate(1, 0, 0),
		}
	}
	return b, nil
}
