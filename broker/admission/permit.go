package admission

import (
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/policy/permit"
)

// Trust is what the broker pins of permit authorities.
type Trust struct {
	Issuers      []permit.TrustedIssuer
	StatusKeys   []permit.TrustedStatusKey
	StatusMaxAge time.Duration // a job starts only under a status this fresh
}

// Check verifies a permit and its status afresh with the pinned keys. What
// does not verify is left false or empty, which policy denies.
func (t Trust) Check(rec broker.PermitRecord) PermitFacts {
	f := PermitFacts{Digest: rec.Digest, StatusMaxAge: t.StatusMaxAge, Latest: true}
	v, err := permit.Verify(rec.JWS, t.Issuers)
	f.InScope = err == nil
	f.Verified = err == nil || permit.CodeOf(err) == permit.CodeScope // out of scope, yet signed
	f.Document, f.IssuerKey = v.Document, v.KeyID
	st, err := permit.VerifyStatus(rec.Status, t.StatusKeys)
	if err == nil && st.Issuer == v.Issuer && st.PermitID == v.Document.ID && st.Version == v.Document.Version {
		f.Status, f.StatusAt = st.Status, st.At
	}
	return f
}
