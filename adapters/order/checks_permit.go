package order

import (
	"fmt"
	"slices"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/policy/permit"
)

// clockSkew is how far in the future a statement's time may lie.
const clockSkew = time.Minute

func (v *verification) permitSignature() error {
	if have := broker.DigestOf(v.evidence.Permit); have != v.order.Permit {
		return no(string(have), "the evidence is another permit than the order names")
	}
	p, err := permit.Verify(v.evidence.Permit, v.trust.Permit)
	if err != nil && permit.CodeOf(err) != permit.CodeScope {
		return because("", err)
	}
	if ps := permit.Validate(p.Document); len(ps) > 0 {
		return no(ps[0].Field, "breaks "+ps[0].Rule+": "+ps[0].Help)
	}
	v.doc, v.out.Permit, v.scopeErr = p.Document, p.Document, err
	return nil
}

// permitScope holds permit and job to each other and to what the authority is
// trusted for at this site.
func (v *verification) permitScope() error {
	switch {
	case v.scopeErr != nil:
		return because(v.doc.ID, v.scopeErr)
	case string(v.spec.Permit) != v.doc.ID:
		return no(string(v.spec.Permit), "the job names another permit")
	case !slices.Contains(v.doc.SPE.Sites, v.trust.Name):
		return no(v.trust.Name, "the permit does not name this site")
	case !slices.Contains(v.doc.Purposes, permit.Purpose(v.spec.Purpose)):
		return no(v.spec.Purpose.String(), "the permit does not have this purpose")
	case !slices.Contains(v.doc.Activities, v.spec.Activity):
		return no(v.spec.Activity, "the permit does not have this activity")
	}
	for _, m := range v.order.Mounts {
		if _, ok := covered(v.doc, m); !ok {
			return no(m.PURI, "the permit does not cover this dataset and version")
		}
	}
	return nil
}

// covered finds the permit's entry for a mount.
func covered(doc permit.Document, m broker.Mount) (permit.Dataset, bool) {
	for _, d := range doc.Datasets {
		if d.PURI == m.PURI && (d.Version == "" || d.Version == m.Version) {
			return d, true
		}
	}
	return permit.Dataset{}, false
}

func (v *verification) permitExpired() error {
	p := v.doc.AccessPeriod
	end := v.at.Now.Add(v.order.Limits.Walltime)
	switch {
	case v.at.Now.Before(p.Start):
		return no(stamp(p.Start), "the access period has not begun")
	case end.After(p.End) || !v.at.Now.Before(p.End):
		return no(stamp(p.End), "the run could last until "+stamp(end))
	}
	return nil
}

func (v *verification) permitStatus() error {
	s, err := permit.VerifyStatus(v.evidence.Status, v.trust.Status)
	if err != nil {
		return because("", err)
	}
	age := v.at.Now.Sub(s.At)
	switch {
	case s.PermitID != v.doc.ID || s.Version != v.doc.Version:
		return no(fmt.Sprintf("%s version %d", s.PermitID, s.Version), "a statement about another permit")
	case s.Issuer != v.doc.Issuer.HDAB:
		return no(s.Issuer, "a statement of another authority")
	case !permit.Active(s.Status):
		return no(s.Status, "not a status that allows a start")
	case age > v.trust.StatusMaxAge:
		return no(stamp(s.At), fmt.Sprintf("older than %s", v.trust.StatusMaxAge))
	case age < -clockSkew:
		return no(stamp(s.At), "in the future")
	}
	v.out.Status = s
	return nil
}

// clearanceMismatch holds the clearance to the order, field by field. The
// submitter and the spec have checks of their own before, the limits after.
func (v *verification) clearanceMismatch() error {
	if have := broker.DigestOf(v.evidence.Clearance); have != v.order.Clearance {
		return no(string(have), "the evidence is another clearance than the order names")
	}
	c, err := receipt.Decode(v.evidence.Clearance)
	if err != nil {
		return because("", err)
	}
	for _, f := range []struct{ name, have, want string }{
		{"kind", c.Kind, broker.DecisionClearance},
		{"verdict", c.Verdict, string(broker.VerdictAllow)},
		{"job", c.Job, string(v.order.Job)},
		{"attempt", c.Attempt, string(v.order.Attempt)},
		{"segment", fmt.Sprint(c.Segment), fmt.Sprint(v.order.Segment)},
		{"tenant", c.Tenant, string(v.order.Tenant)},
		{"site", c.Site, string(v.order.Site)},
		{"account", c.Account, v.order.Account},
		{"image", c.Image, string(v.order.Image)},
		{"permit", c.Permit, v.doc.ID},
		{"permit_version", fmt.Sprint(c.PermitVersion), fmt.Sprint(v.doc.Version)},
		{"permit_digest", c.PermitDigest, string(v.order.Permit)},
		{"status_digest", c.StatusDigest, string(broker.DigestOf(v.evidence.Status))},
	} {
		if f.have != f.want {
			return no(f.name, fmt.Sprintf("the clearance says %q, the order %q", f.have, f.want))
		}
	}
	v.cleared, v.out.Clearance = c, c
	return nil
}

func (v *verification) receiptInvalid() error {
	info, err := receipt.Verify(v.evidence.Receipt, v.evidence.Clearance, v.trust.verifiers())
	if err != nil {
		return because("", err)
	}
	if info.Kind != broker.DecisionClearance {
		return no(info.Kind, "the leaf is not a clearance")
	}
	v.out.Receipt = info
	return nil
}
