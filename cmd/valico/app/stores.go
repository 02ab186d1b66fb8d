package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/disk"
	"github.com/valico-hpc/valico/images/layout"
)

// stores are the image stores, one folder per tenant: no tenant's upload can
// tell whether another has a layer.
type stores struct {
	dir  string
	mu   sync.Mutex
	open map[broker.TenantID]*layout.Store
}

func newStores(dir string) *stores {
	return &stores{dir: dir, open: map[broker.TenantID]*layout.Store{}}
}

func (s *stores) of(tenant broker.TenantID) (*layout.Store, error) {
	if !broker.ValidID("ten", string(tenant)) {
		return nil, fmt.Errorf("tenant %q has no image store", tenant)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.open[tenant]; st != nil {
		return st, nil
	}
	st, err := layout.Open(filepath.Join(s.dir, string(tenant)))
	if err != nil {
		return nil, fmt.Errorf("open the tenant's image store: %w", err)
	}
	s.open[tenant] = st
	return st, nil
}

// Has and Put satisfy httpapi.Blobs.

// Has reports whether the tenant has a blob.
func (s *stores) Has(ctx context.Context, tenant broker.TenantID, d broker.Digest) (bool, error) {
	st, err := s.of(tenant)
	if err != nil {
		return false, err
	}
	return st.Has(ctx, string(d))
}

// Put stores a tenant's blob; what is not the bytes of that digest is refused.
func (s *stores) Put(ctx context.Context, tenant broker.TenantID, d broker.Digest, size int64, r io.Reader) error {
	st, err := s.of(tenant)
	if err != nil {
		return err
	}
	if err := st.Put(ctx, string(d), size, r); err != nil {
		if errors.Is(err, layout.ErrDigest) {
			return &broker.Error{
				Kind: broker.KindInvalid, Code: "blob_digest_mismatch", Message: "the upload is not the blob that it says it is",
				Rule: "the body is exactly the bytes that the digest names", Value: string(d), Help: "upload it again", Who: "you", Err: err,
			}
		}
		if errors.Is(err, disk.ErrFull) {
			return &broker.Error{
				Kind: broker.KindUnavailable, Code: "blob_no_room", Message: "the broker has no room for the upload",
				Rule: "an upload leaves the broker room to work", Value: fmt.Sprintf("%d bytes", size),
				Help: "try again later, or upload less", Who: "the broker's operator", Err: err,
			}
		}
		return fmt.Errorf("store blob: %w", err)
	}
	return nil
}

// OpenBlob satisfies agent.Blobs for agents in this process: from the store of
// the order's own tenant, and from no other.
func (s *stores) OpenBlob(ctx context.Context, o broker.WorkOrder, d broker.Digest) (io.ReadCloser, int64, error) {
	st, err := s.of(o.Tenant)
	if err != nil {
		return nil, 0, err
	}
	r, size, err := st.OpenBlob(ctx, string(d))
	if errors.Is(err, layout.ErrNotFound) {
		return nil, 0, broker.NotFound("blob", string(d))
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	return r, size, nil
}
