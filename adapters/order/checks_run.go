package order

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/sign"
	"github.com/valico-hpc/valico/policy/permit"
)

func (v *verification) imageSignature() error {
	if _, err := sign.Verify(v.evidence.Signature, string(v.order.Image), v.trust.Image); err != nil {
		return because(string(v.order.Image), err)
	}
	return nil
}

// imageTampered holds manifest and config to their digests. OCI lets both
// carry members that this version does not know, so those are read over:
// every byte of them is under the digest that was cleared.
func (v *verification) imageTampered() error {
	if have := broker.DigestOf(v.evidence.Manifest); have != v.order.Image {
		return no(string(have), "the manifest is not the one that was cleared")
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(v.evidence.Manifest, &m); err != nil {
		return because("", fmt.Errorf("manifest: %w", err))
	}
	if have := broker.DigestOf(v.evidence.Config); string(have) != string(m.Config.Digest) || int64(len(v.evidence.Config)) != m.Config.Size {
		return no(string(have), "the config is not the one of the manifest")
	}
	var c ocispec.Image
	if err := json.Unmarshal(v.evidence.Config, &c); err != nil {
		return because("", fmt.Errorf("config: %w", err))
	}
	if len(m.Layers) == 0 || len(m.Layers) != len(c.RootFS.DiffIDs) {
		return errors.New("manifest and config disagree on the layers")
	}
	for i, l := range m.Layers {
		if !broker.Digest(l.Digest).Valid() || !broker.Digest(c.RootFS.DiffIDs[i]).Valid() || l.Size < 0 || len(l.URLs) > 0 {
			return no(string(l.Digest), "a layer is not named by its digest alone")
		}
	}
	v.out.Manifest, v.out.Config = m, c
	return nil
}

// mountNotSynthetic resolves each dataset in the site's own registry. Sites
// are advisory in this version: only regime SANDBOX opens anything.
func (v *verification) mountNotSynthetic() error {
	if v.doc.LegalRegime != permit.RegimeSandbox {
		return no(v.doc.LegalRegime, "this site opens synthetic data only")
	}
	if len(v.order.Mounts) != len(v.spec.Datasets) {
		return errors.New("the order mounts other datasets than the spec")
	}
	var mounts []Mount
	for i, m := range v.order.Mounts {
		d, err := v.mount(m, v.spec.Datasets[i])
		if err != nil {
			return err
		}
		mounts = append(mounts, Mount{Name: m.Name, Path: d.Path, PURI: m.PURI, Version: m.Version, Digest: m.Digest})
	}
	v.out.Mounts = mounts
	return nil
}

func (v *verification) mount(m broker.Mount, use broker.DatasetUse) (Dataset, error) {
	if m.Name != use.Mount || m.PURI != use.PURI || use.Version != "" && use.Version != m.Version {
		return Dataset{}, no(m.PURI, "the spec asks for another dataset here")
	}
	d, ok := v.trust.dataset(m.PURI, m.Version)
	if !ok {
		return d, no(m.PURI, "the site's registry does not have this dataset and version")
	}
	granted, ok := covered(v.doc, m)
	switch {
	case d.Digest != m.Digest:
		return d, no(m.PURI, "the site's registry has other bytes: "+string(d.Digest))
	case !d.Synthetic:
		return d, no(m.PURI, "the site's registry does not flag it synthetic")
	case !ok || granted.AccessFormat != permit.FormatSynthetic:
		return d, no(m.PURI, "the permit does not cover it as synthetic")
	case granted.Holder != d.Holder || granted.Country != d.Country:
		return d, no(m.PURI, "permit and registry disagree on holder or country")
	}
	return d, nil
}

// commandMismatch holds what would run, as the image's config says it, to the
// order and the spec. An image without a base has exactly the order's
// environment; a base may add variables of its own but changes none.
func (v *verification) commandMismatch() error {
	c, spec := v.out.Config.Config, v.spec.Image
	own := spec.Base == "none"
	switch {
	case len(c.Entrypoint) > 0:
		return no(strings.Join(c.Entrypoint, " "), "the image has an entrypoint")
	case !slices.Equal(v.order.Command, spec.Command) || !slices.Equal(v.order.Command, c.Cmd):
		return no(strings.Join(v.order.Command, " "), "spec or image have another command")
	case v.order.WorkDir != spec.WorkDir || v.order.WorkDir != "" && v.order.WorkDir != c.WorkingDir:
		return no(v.order.WorkDir, "spec or image have another working directory")
	case v.order.WorkDir == "" && own && c.WorkingDir != "" && c.WorkingDir != "/":
		return no(c.WorkingDir, "the image has a working directory that nobody asked for")
	case !slices.Equal(v.order.Env, spec.Env):
		return no("env", "the spec has another environment")
	case spec.User != "" && spec.User != c.User:
		return no(c.User, "the image has another user")
	}
	env, err := environment(c.Env)
	if err != nil {
		return err
	}
	for _, want := range v.order.Env {
		if !slices.Contains(env, want) {
			return no(want.Name, "the image has another value, or none")
		}
	}
	if own && len(env) != len(v.order.Env) {
		return no("env", "the image has variables that nobody asked for")
	}
	v.out.Env, v.out.WorkDir = env, c.WorkingDir
	if v.out.WorkDir == "" {
		v.out.WorkDir = "/"
	}
	return nil
}

// environment reads NAME=VALUE entries, each name once.
func environment(entries []string) ([]broker.EnvVar, error) {
	var out []broker.EnvVar
	seen := map[string]bool{}
	for _, e := range entries {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" || seen[name] || strings.HasPrefix(name, "VALICO_") || strings.ContainsRune(e, 0) {
			return nil, no(name, "the image's environment is ambiguous or reserved")
		}
		seen[name] = true
		out = append(out, broker.EnvVar{Name: name, Value: value})
	}
	return out, nil
}

func (v *verification) limitsMismatch() error {
	o, c, s := v.order.Limits, v.cleared.Limits, v.spec.Resources
	if o != s {
		return no(fmt.Sprintf("%+v", o), fmt.Sprintf("the spec says %+v", s))
	}
	seconds := int64(o.Walltime.Seconds())
	if o.Nodes != c.Nodes || o.GPUsPerNode != c.GPUsPerNode || o.GPUType != c.GPUType || o.CPUsPerNode != c.CPUsPerNode ||
		o.MemoryMiB != c.MemoryMiB || seconds != c.WalltimeSeconds {
		return no(fmt.Sprintf("%+v", o), fmt.Sprintf("the clearance says %+v", c))
	}
	return nil
}

func (v *verification) secondStart() error {
	if v.at.Marked {
		return no(string(v.order.Attempt), "the start mark exists")
	}
	return nil
}
