package app

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/dispatch"
	"github.com/valico-hpc/valico/images/dsse"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/sign"
	"github.com/valico-hpc/valico/policy"
)

// packager satisfies dispatch.Packager with packages images/layer, layout and
// sign: whatever a client cut is checked again before it becomes an image.
type packager struct {
	stores *stores
	key    crypto.Signer
	keyID  string
}

func newPackager(s *stores, key crypto.Signer) (*packager, error) {
	id, err := dsse.KeyID(key.Public())
	if err != nil {
		return nil, fmt.Errorf("name the image key: %w", err)
	}
	return &packager{stores: s, key: key, keyID: id}, nil
}

// Package checks every layer that has not passed in this store before,
// assembles the image, signs its manifest and keeps the signature beside it.
// The same spec gives the same digest.
func (p *packager) Package(ctx context.Context, tenant broker.TenantID, spec broker.ImageSpec) (dispatch.Packaged, error) {
	st, err := p.stores.of(tenant)
	if err != nil {
		return dispatch.Packaged{}, err
	}
	ls := layout.Spec{Base: spec.Base, Command: spec.Command, WorkDir: spec.WorkDir, User: spec.User}
	for _, e := range spec.Env {
		ls.Env = append(ls.Env, layout.EnvVar(e))
	}
	for i, l := range spec.Layers {
		own := layout.Layer{
			Class: l.Class, MediaType: l.MediaType, Digest: string(l.Digest), DiffID: string(l.DiffID), SizeBytes: l.SizeBytes,
		}
		if err := st.Check(ctx, own, layer.Limits{}); err != nil {
			return dispatch.Packaged{}, imageError(fmt.Sprintf("image.layers[%d]", i), err)
		}
		ls.Layers = append(ls.Layers, own)
	}
	img, err := st.Assemble(ctx, ls)
	if err != nil {
		return dispatch.Packaged{}, imageError("image", err)
	}
	if err := p.sign(ctx, st, img.Digest); err != nil {
		return dispatch.Packaged{}, err
	}
	return p.Packaged(ctx, tenant, broker.Digest(img.Digest))
}

// Packaged reads an image back and verifies its signature with the image key.
func (p *packager) Packaged(ctx context.Context, tenant broker.TenantID, image broker.Digest) (dispatch.Packaged, error) {
	st, err := p.stores.of(tenant)
	if err != nil {
		return dispatch.Packaged{}, err
	}
	img, err := st.Load(ctx, string(image))
	if err != nil {
		return dispatch.Packaged{}, fmt.Errorf("load image: %w", err)
	}
	bundle, err := p.signature(ctx, st, img.Digest)
	if err != nil {
		return dispatch.Packaged{}, err
	}
	view := policy.Image{
		Digest: img.Digest, Base: img.Base, Signed: bundle != nil, Layers: []policy.Layer{}, Config: configView(img.Parsed),
	}
	if view.Signed {
		view.SignerKey = p.keyID
	}
	for _, l := range img.Layers {
		view.Layers = append(view.Layers, policy.Layer{
			Class: l.Class, MediaType: l.MediaType, Digest: l.Digest, DiffID: l.DiffID, SizeBytes: l.SizeBytes,
		})
	}
	return dispatch.Packaged{Digest: image, Manifest: img.Manifest, Config: img.Config, Signature: bundle, View: view}, nil
}

// sign signs a manifest unless the store holds a signature that verifies.
func (p *packager) sign(ctx context.Context, st *layout.Store, image string) error {
	have, err := p.signature(ctx, st, image)
	if err != nil || have != nil {
		return err
	}
	bundle, err := sign.Sign(p.key, image)
	if err != nil {
		return fmt.Errorf("sign image %s: %w", image, err)
	}
	if _, err := st.Attach(ctx, image, sign.PredicateType, bundle); err != nil {
		return fmt.Errorf("keep the signature of %s: %w", image, err)
	}
	return nil
}

// signature finds a bundle that verifies with the image key; nil when there is
// none, which policy denies.
func (p *packager) signature(ctx context.Context, st *layout.Store, image string) ([]byte, error) {
	bundles, err := st.Bundles(ctx, image, sign.PredicateType)
	if err != nil {
		return nil, fmt.Errorf("read the signatures of %s: %w", image, err)
	}
	for _, b := range bundles {
		if _, err := sign.Verify(b, image, []crypto.PublicKey{p.key.Public()}); err == nil {
			return b, nil
		}
	}
	return nil, nil
}

// imageError tells what a person can mend from what may pass by itself.
func imageError(where string, err error) error {
	e := &broker.Error{
		Kind: broker.KindInvalid, Message: "the image cannot be built", Value: where, Err: err,
		Help: "submit the job again from a clean context", Who: "you",
	}
	bad, foreign := errors.AsType[*layer.Error](err)
	switch {
	case foreign:
		e.Code, e.Rule, e.Value, e.Help = bad.Code, bad.Rule, where+" "+bad.Path, bad.Help
	case errors.Is(err, layout.ErrNotFound):
		e.Code, e.Rule = "blob_missing", "every layer and the base are uploaded before the job is submitted"
	case errors.Is(err, layout.ErrDigest):
		e.Code, e.Rule = "layer_tampered", "a layer is exactly the bytes that its digest names"
	case errors.Is(err, layout.ErrSpec), errors.Is(err, layout.ErrMalformed), errors.Is(err, layout.ErrUnsupported):
		e.Code, e.Rule = "image_invalid", "an image of the OCI image specification v1.1 for linux"
	default:
		return fmt.Errorf("build the image: %w", err)
	}
	return e
}
