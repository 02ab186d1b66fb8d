package app

import (
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/policy"
)

// configView is all of an OCI image config that can change what runs, as
// policy input (promise P10): a test compares the two structs by reflection.
func configView(img ocispec.Image) policy.ImageConfig {
	c := img.Config
	v := policy.ImageConfig{
		Author: img.Author, Architecture: img.Architecture, OS: img.OS, OSVersion: img.OSVersion,
		OSFeatures: append([]string{}, img.OSFeatures...), Variant: img.Variant,
		User: c.User, ExposedPorts: keysOf(c.ExposedPorts), Env: []policy.EnvVar{},
		Entrypoint: append([]string{}, c.Entrypoint...), Cmd: append([]string{}, c.Cmd...),
		Volumes: keysOf(c.Volumes), WorkDir: c.WorkingDir, Labels: map[string]string{},
		StopSignal: c.StopSignal, DiffIDs: []string{},
		ArgsEscaped: c.ArgsEscaped, //nolint:staticcheck // deprecated by the specification, yet a submitter could set it
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		v.Env = append(v.Env, policy.EnvVar{Name: name, Value: value})
	}
	maps.Copy(v.Labels, c.Labels)
	for _, d := range img.RootFS.DiffIDs {
		v.DiffIDs = append(v.DiffIDs, d.String())
	}
	return v
}

func keysOf(m map[string]struct{}) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
