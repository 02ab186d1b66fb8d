package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/policy/permit"
)

// statusSkew is how far ahead an authority's clock may be.
const statusSkew = 2 * time.Minute

func (s *Server) permits() {
	end := exampleTime().AddDate(1, 0, 0)
	example := wire.Permit{
		ID: "sandbox-2026-11-24", Version: 1, Digest: exampleDigest, LegalRegime: permit.RegimeSandbox, Verified: true, InScope: true,
		IssuerKey: "sandbox-1", Status: permit.StatusGranted, AccessEnd: &end, ImportedAt: exampleTime(),
	}
	handle(s, op{
		method: http.MethodGet, path: "/v1/permits", id: "list-permits", summary: "List the project's permits", rule: signedIn,
		example: wire.Permits{Permits: []wire.Permit{example}},
	}, s.listPermits)
	handle(s, op{
		method: http.MethodPost, path: "/v1/permits", id: "import-permit", summary: "Import a signed permit", rule: operator,
		status: http.StatusCreated, example: example,
	}, s.importPermit)
	handle(s, op{
		method: http.MethodGet, path: "/v1/permits/{id}", id: "get-permit", summary: "Show a permit", rule: signedIn, example: example,
	}, s.getPermit)
	handle(s, op{
		method: http.MethodPost, path: "/v1/permits/{id}/status", id: "set-permit-status", summary: "Hand over a signed status statement",
		rule: operator, status: http.StatusCreated, example: example,
	}, s.setStatus)
}

func (s *Server) listPermits(ctx context.Context, _ *struct{}) (*body[wire.Permits], error) {
	recs, err := s.d.Store.Permits(ctx, caller(ctx).Project)
	if err != nil {
		return nil, fmt.Errorf("list permits: %w", err)
	}
	out := wire.Permits{Permits: []wire.Permit{}}
	for _, r := range recs {
		w := s.permitView(r)
		w.Document = nil
		out.Permits = append(out.Permits, w)
	}
	return &body[wire.Permits]{out}, nil
}

// PermitPath names a permit.
type PermitPath struct {
	ID string `path:"id" maxLength:"200" example:"sandbox-2026-11-24" doc:"The permit's id."`
}

func (s *Server) getPermit(ctx context.Context, in *PermitPath) (*body[wire.Permit], error) {
	rec, err := s.d.Store.Permit(ctx, caller(ctx).Project, broker.PermitID(in.ID))
	if err != nil {
		return nil, fmt.Errorf("read permit: %w", err)
	}
	return &body[wire.Permit]{s.permitView(rec)}, nil
}

// permitView checks a permit as a decision would now.
func (s *Server) permitView(r broker.PermitRecord) wire.Permit {
	f := s.d.Trust.Check(r)
	w := wire.Permit{
		ID: string(r.ID), Version: r.Version, Digest: string(r.Digest), LegalRegime: f.Document.LegalRegime,
		Verified: f.Verified, InScope: f.InScope, IssuerKey: f.IssuerKey, Status: f.Status, ImportedAt: r.At, Document: &f.Document,
	}
	if !f.StatusAt.IsZero() {
		w.StatusAt = &f.StatusAt
	}
	if f.Verified {
		w.AccessEnd = &f.Document.AccessPeriod.End
	}
	return w
}

type importInput struct {
	CreateKey
	Body wire.PermitImport
}

// importPermit stores a permit that a pinned key signed, within what that key
// is trusted for, and that breaks no rule of its own. Nothing else is stored.
func (s *Server) importPermit(ctx context.Context, in *importInput) (*body[wire.Permit], error) {
	p, now := caller(ctx), s.now()
	jws := []byte(in.Body.JWS)
	v, err := permit.Verify(jws, s.d.Trust.Issuers)
	if err != nil {
		return nil, fmt.Errorf("verify permit: %w", refused(err))
	}
	if err := broken(permit.Validate(v.Document)); err != nil {
		return nil, err
	}
	rec := broker.PermitRecord{
		ID: broker.PermitID(v.Document.ID), Version: v.Document.Version, Tenant: p.Tenant, Project: p.Project,
		JWS: jws, Digest: broker.DigestOf(jws), At: now,
	}
	if in.Body.Status != "" {
		st, err := s.statusOf(v, []byte(in.Body.Status))
		if err != nil {
			return nil, err
		}
		rec.Status, rec.StatusAt = []byte(in.Body.Status), st.At
	}
	index, err := s.d.Store.ImportPermit(ctx, rec, ledger.Entry{
		Kind: ledger.KindPermitImport, Tenant: p.Tenant, Permit: rec.ID, Person: p.ID, Document: jws, At: now,
	})
	if err != nil {
		return nil, fmt.Errorf("import permit: %w", err)
	}
	if rec, err = s.d.Store.Permit(ctx, p.Project, rec.ID); err != nil { // with the status that it may have had
		return nil, fmt.Errorf("read permit: %w", err)
	}
	w := s.permitView(rec)
	w.LedgerIndex = &index
	return &body[wire.Permit]{w}, nil
}

type statusInput struct {
	PermitPath
	CreateKey
	Body wire.PermitStatus
}

// setStatus stores a status that is newer than the one held.
func (s *Server) setStatus(ctx context.Context, in *statusInput) (*body[wire.Permit], error) {
	p, now := caller(ctx), s.now()
	rec, err := s.d.Store.Permit(ctx, p.Project, broker.PermitID(in.ID))
	if err != nil {
		return nil, fmt.Errorf("read permit: %w", err)
	}
	v, err := permit.Verify(rec.JWS, s.d.Trust.Issuers)
	if err != nil && permit.CodeOf(err) != permit.CodeScope { // out of scope, yet a revocation counts
		return nil, fmt.Errorf("verify permit: %w", refused(err))
	}
	jws := []byte(in.Body.JWS)
	st, err := s.statusOf(v, jws)
	if err != nil {
		return nil, err
	}
	if st.At.Before(rec.StatusAt) {
		return nil, &broker.Error{
			Kind: broker.KindConflict, Code: "permit_status_older", Message: "the broker holds a newer status of this permit",
			Rule: "a status never goes back in time", Value: st.At.Format(time.RFC3339), Help: "state the status again, now", Who: "the permit authority",
		}
	}
	index, err := s.d.Store.SetPermitStatus(ctx, p.Project, rec.ID, jws, st.At, ledger.Entry{
		Kind: ledger.KindPermitStatus, Tenant: p.Tenant, Permit: rec.ID, Person: p.ID, Document: jws, At: now,
	})
	if err != nil {
		return nil, fmt.Errorf("set permit status: %w", err)
	}
	rec.Status, rec.StatusAt = jws, st.At
	w := s.permitView(rec)
	w.LedgerIndex = &index
	return &body[wire.Permit]{w}, nil
}

// statusOf verifies a status statement of one permit version by its authority.
func (s *Server) statusOf(v permit.Verified, jws []byte) (permit.Status, error) {
	st, err := permit.VerifyStatus(jws, s.d.Trust.StatusKeys)
	if err != nil {
		return st, fmt.Errorf("verify status: %w", refused(err))
	}
	e := &broker.Error{
		Kind: broker.KindInvalid, Code: "permit_status_mismatch", Message: "the status is not one of this permit's",
		Rule: "a status names the permit and version, and is signed for the permit's own authority",
		Help: "ask the authority for a status of this permit", Who: "the permit authority",
	}
	switch {
	case st.Issuer != v.Issuer:
		e.Value = st.Issuer
	case st.PermitID != v.Document.ID || st.Version != v.Document.Version:
		e.Value = fmt.Sprintf("%s version %d", st.PermitID, st.Version)
	case st.At.After(s.d.Now().Add(statusSkew)):
		e.Code, e.Message, e.Value = "permit_status_future", "the status is of the future", st.At.Format(time.RFC3339)
		e.Rule, e.Help = "a status is stated before it is handed over", "compare the authority's clock with the broker's"
	default:
		return st, nil
	}
	return st, e
}

// refused gives an error of package permit in the form that reaches a person.
func refused(err error) error {
	e, ok := errors.AsType[*permit.Error](err)
	if !ok {
		return err
	}
	return &broker.Error{
		Kind: broker.KindInvalid, Code: e.Code, Message: e.Message, Rule: e.Rule, Value: e.Value, Help: e.Help,
		Who: "the permit authority", Err: e.Err,
	}
}

// broken is nil, or the error that names every rule that a document breaks.
func broken(ps []permit.Problem) error {
	if len(ps) == 0 {
		return nil
	}
	f := &wire.FieldsError{Err: &broker.Error{
		Kind: broker.KindInvalid, Code: "permit_invalid", Message: "the permit breaks a rule: " + ps[0].Field, Rule: ps[0].Rule,
		Value: ps[0].Value, Help: ps[0].Help, Who: "the permit authority",
	}}
	for _, p := range ps {
		f.Fields = append(f.Fields, wire.FieldError{Field: p.Field, Reason: p.Rule, Value: p.Value, Help: p.Help})
	}
	return f
}
