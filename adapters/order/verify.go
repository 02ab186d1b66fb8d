package order

import (
	"context"
	"errors"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/policy/permit"
)

// Stage is who verifies.
type Stage string

// The stages.
const (
	// StageAgent: the site's agent, before it hands anything to a scheduler.
	StageAgent Stage = "agent"
	// StageNode: the launcher on the node, before it starts anything.
	StageNode Stage = "node"
)

// At is the moment and place of a verification.
type At struct {
	Stage Stage
	Now   time.Time
	// Account is the name of the account that the process runs as. It is
	// required at the node; the agent leaves it empty.
	Account string
	// Marked says that the attempt's start mark exists, or that the agent's
	// journal knows it to be started.
	Marked bool
}

// Verified is an order of which every check held.
type Verified struct {
	Order     broker.WorkOrder
	Digest    broker.Digest // of order.json
	Spec      broker.JobSpec
	Permit    permit.Document
	Status    permit.Status
	Clearance receipt.Document
	Receipt   receipt.Info
	Manifest  ocispec.Manifest
	Config    ocispec.Image
	// Env and WorkDir are what runs: the image's environment, in which the
	// order's is contained, and the folder to start in.
	Env       []broker.EnvVar
	WorkDir   string
	Mounts    []Mount
	Isolation broker.Isolation
}

// Mount is a dataset to open, read-only at /data/<Name>, from the site's Path.
type Mount struct {
	Name    string
	Path    string
	PURI    string
	Version string
	Digest  broker.Digest
}

// check is one code and what it looks at.
type check struct {
	code string
	run  func(*verification) error
}

// checks is the one order of all checks.
func checks() []check {
	return []check{
		{CodeMalformed, (*verification).malformed},
		{CodeKeyUnknown, (*verification).keyUnknown},
		{CodeKeyRole, (*verification).keyRole},
		{CodeSignature, (*verification).signature},
		{CodeKeyEpoch, (*verification).keyEpoch},
		{CodeWrongSite, (*verification).wrongSite},
		{CodeWrongAccount, (*verification).wrongAccount},
		{CodeNotYet, (*verification).notYet},
		{CodeExpired, (*verification).expired},
		{CodeSubmitter, (*verification).submitter},
		{CodeSpec, (*verification).specMismatch},
		{CodePermitSignature, (*verification).permitSignature},
		{CodePermitScope, (*verification).permitScope},
		{CodePermitExpired, (*verification).permitExpired},
		{CodePermitStatus, (*verification).permitStatus},
		{CodeClearance, (*verification).clearanceMismatch},
		{CodeReceipt, (*verification).receiptInvalid},
		{CodeImageSignature, (*verification).imageSignature},
		{CodeImageTampered, (*verification).imageTampered},
		{CodeMountNotSynthetic, (*verification).mountNotSynthetic},
		{CodeCommand, (*verification).commandMismatch},
		{CodeLimits, (*verification).limitsMismatch},
		{CodeSecondStart, (*verification).secondStart},
	}
}

// Codes lists every code in the order in which they are checked.
func Codes() []string {
	var out []string
	for _, c := range checks() {
		out = append(out, c.code)
	}
	return out
}

// Verify checks order.json against what the site pins, at one moment. It
// returns either an order of which every check held, or the refusal of the
// first that did not.
func Verify(ctx context.Context, raw []byte, trust Trust, at At) (Verified, error) {
	if err := ready(trust, at); err != nil {
		return Verified{}, err
	}
	v := &verification{raw: raw, trust: trust, at: at}
	for _, c := range checks() {
		if err := ctx.Err(); err != nil {
			return Verified{}, fmt.Errorf("verify order: %w", context.Cause(ctx))
		}
		if err := c.run(v); err != nil {
			var value string
			if f, ok := errors.AsType[*fault](err); ok {
				value = f.value
			}
			return Verified{}, Refuse(c.code, value, err)
		}
	}
	v.out.Order, v.out.Digest, v.out.Isolation = v.order, broker.DigestOf(raw), trust.Isolation
	return v.out, nil
}

// ready refuses to verify with trust or a moment that could be misread.
func ready(trust Trust, at At) error {
	if err := trust.Check(); err != nil {
		return err
	}
	ok := !at.Now.IsZero() && (at.Stage == StageAgent || at.Stage == StageNode && at.Account != "")
	if !ok {
		return &broker.Error{
			Kind: broker.KindInternal, Code: "verify_moment", Message: "the order cannot be verified without a stage, a time and, at the node, an account",
			Who: whoSite,
		}
	}
	return nil
}

// verification carries what earlier checks established. Fields are set by the
// check that is named beside them and read by later ones only, but for the
// three peeks, which read evidence that a later check refuses if it is not
// what it must be.
type verification struct {
	raw   []byte
	trust Trust
	at    At
	out   Verified

	envelope dsse.Envelope    // malformed
	order    broker.WorkOrder // malformed; trusted after signature
	evidence broker.Evidence  // malformed
	key      pinned           // keyUnknown
	doc      permit.Document  // permitSignature
	spec     broker.JobSpec   // specMismatch
	scopeErr error            // permitSignature
	cleared  receipt.Document // clearanceMismatch
}

// peekClearance reads the clearance before its own check, if it is the one
// that the order names.
func (v *verification) peekClearance() (receipt.Document, bool) {
	if broker.DigestOf(v.evidence.Clearance) != v.order.Clearance {
		return receipt.Document{}, false
	}
	d, err := receipt.Decode(v.evidence.Clearance)
	return d, err == nil
}

// peekPermit reads the permit before its own check, if it is genuine.
func (v *verification) peekPermit() (permit.Document, bool) {
	p, err := permit.Verify(v.evidence.Permit, v.trust.Permit)
	return p.Document, err == nil || permit.CodeOf(err) == permit.CodeScope
}
