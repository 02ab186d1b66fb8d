package admission

import (
	"crypto/sha256"
	"sync"
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

// checks remembers what Check found of a permit and its status. What it finds
// depends on their exact bytes and the pinned keys alone, never on a clock, so
// equal bytes need no second verification: two signatures cost as much as a
// tenth of an admission. It is safe for concurrent use.
type checks struct {
	trust Trust
	mu    sync.Mutex
	known map[[2][sha256.Size]byte]PermitFacts
}

// maxChecks bounds what is remembered; a full memory is forgotten as a whole.
const maxChecks = 1024

func newChecks(t Trust) *checks {
	return &checks{trust: t, known: map[[2][sha256.Size]byte]PermitFacts{}}
}

// check is Trust.Check. Nobody may change what the facts point to.
func (c *checks) check(rec broker.PermitRecord) PermitFacts {
	key := [2][sha256.Size]byte{sha256.Sum256(rec.JWS), sha256.Sum256(rec.Status)}
	c.mu.Lock()
	f, ok := c.known[key]
	c.mu.Unlock()
	if !ok {
		f = c.trust.Check(rec)
		c.mu.Lock()
		if len(c.known) >= maxChecks {
			clear(c.known)
		}
		c.known[key] = f
		c.mu.Unlock()
	}
	f.Digest = rec.Digest
	return f
}
