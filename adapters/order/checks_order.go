package order

import (
	"errors"
	"fmt"
	"slices"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
)

func (v *verification) malformed() error {
	o, e, err := decode(v.raw)
	if err != nil {
		return because("", err)
	}
	v.order, v.evidence, v.envelope = o.Order, o.Evidence, e
	return nil
}

func (v *verification) keyUnknown() error {
	p, ok := v.trust.keyOf(v.envelope.KeyID)
	if !ok {
		return no(v.envelope.KeyID, "no pinned key has this id")
	}
	v.key = p
	return nil
}

func (v *verification) keyRole() error {
	if v.key.role != RoleOrder {
		return no(string(v.key.role), "the key is pinned for another role: "+v.key.at)
	}
	return nil
}

func (v *verification) signature() error {
	if _, err := v.envelope.Verify(PayloadType, v.key.key); err != nil {
		return because("", err)
	}
	return nil
}

func (v *verification) keyEpoch() error {
	if v.order.KeyEpoch < v.trust.KeyEpochMin {
		return no(fmt.Sprintf("epoch %d, at least %d is accepted", v.order.KeyEpoch, v.trust.KeyEpochMin), "older key epoch")
	}
	return nil
}

func (v *verification) wrongSite() error {
	if v.order.Site != v.trust.Site {
		return no(string(v.order.Site), "this site is "+string(v.trust.Site))
	}
	return nil
}

// wrongAccount holds at both stages that the account is one that the site
// mapped; at the node, that it is the one that this process runs as.
func (v *verification) wrongAccount() error {
	mapped := false
	for _, account := range v.trust.Accounts {
		mapped = mapped || account == v.order.Account
	}
	if !mapped {
		return no(v.order.Account, "the site maps nobody to this account")
	}
	if v.at.Account != "" && v.at.Account != v.order.Account {
		return no(v.order.Account, "this process runs as "+v.at.Account)
	}
	return nil
}

func (v *verification) notYet() error {
	if v.at.Now.Before(v.order.NotBefore) {
		return no(stamp(v.order.NotBefore), "it is "+stamp(v.at.Now))
	}
	return nil
}

func (v *verification) expired() error {
	if v.at.Now.After(v.order.NotAfter) {
		return no(stamp(v.order.NotAfter), "it is "+stamp(v.at.Now))
	}
	return nil
}

// submitter ties person, account, clearance and permit together. A clearance
// or permit that cannot be read here is refused by its own check.
func (v *verification) submitter() error {
	who := v.order.Submitter
	if account, ok := v.trust.Accounts[who]; !ok || account != v.order.Account {
		return no(string(who), "the site does not map this person to account "+v.order.Account)
	}
	if c, ok := v.peekClearance(); ok && c.Submitter != string(who) {
		return no(string(who), "another person was cleared")
	}
	doc, ok := v.peekPermit()
	if !ok {
		return nil
	}
	// A person's time lies within the access period: outside of it, it is the
	// permit that has expired, which its own check refuses.
	end := v.at.Now.Add(v.order.Limits.Walltime)
	outside := v.at.Now.Before(doc.AccessPeriod.Start) || end.After(doc.AccessPeriod.End) || !v.at.Now.Before(doc.AccessPeriod.End)
	for _, p := range doc.Persons {
		if p.ID == string(who) && (outside || !v.at.Now.Before(p.From) && v.at.Now.Before(p.Until) && !end.After(p.Until)) {
			return nil
		}
	}
	return no(string(who), "not a person of the permit now and for as long as the run may last")
}

// specMismatch holds the evidence to the digest and the order to the spec, in
// all that no other check compares.
func (v *verification) specMismatch() error {
	if have := broker.DigestOf(v.evidence.Spec); have != v.order.Spec {
		return no(string(have), "the evidence is another spec than the order names")
	}
	spec, err := jobspec.DecodeSpec(v.evidence.Spec)
	if err != nil {
		return because("", err)
	}
	if c, ok := v.peekClearance(); ok && c.Spec != string(v.order.Spec) {
		return no(string(v.order.Spec), "another spec was cleared")
	}
	switch {
	case v.order.Network != spec.Network:
		return no(v.order.Network, "the spec's network is "+spec.Network)
	case v.order.Telemetry != spec.Telemetry:
		return no(v.order.Telemetry, "the spec's telemetry is "+spec.Telemetry)
	case !slices.Equal(v.order.Outputs, spec.Outputs):
		return errors.New("the order declares other outputs than the spec")
	case v.order.Resume != spec.Resume:
		return no(fmt.Sprintf("%+v", v.order.Resume), fmt.Sprintf("the spec's resume is %+v", spec.Resume))
	}
	v.spec, v.out.Spec = spec, spec
	return nil
}
