package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/layout"
	"github.com/valico-hpc/valico/images/remote"
)

// job is a job file with what it names resolved.
type job struct {
	dir  string // of the file; paths in it are relative to that
	file jobspec.File
	base string // "none" or a manifest digest
	// baseBlobs are the files of an OCI layout that the broker must have.
	baseBlobs []blob
	// pull is the reference of a registry's image, to be had before submitting.
	pull string
}

// blob is a file that the broker must have.
type blob struct {
	digest    broker.Digest
	sizeBytes int64
	path      string
}

// layerCut is a layer and the file that it was cut to.
type layerCut struct {
	layer broker.Layer
	path  string
}

func loadJob(path string) (*job, error) {
	b, err := readFile("the job file", path)
	if err != nil {
		return nil, err
	}
	f, err := jobspec.ParseYAML(b)
	if err != nil {
		return nil, err
	}
	j := &job{dir: filepath.Dir(path), file: f}
	return j, j.resolveBase()
}

// resolveBase finds the digest of the base image. A registry's image is named by
// digest already, which is all that a plan needs.
func (j *job) resolveBase() error {
	base := j.file.Image.Base
	folder, isLayout := strings.CutPrefix(base, "oci:")
	_, digest, hasDigest := strings.Cut(base, "@")
	switch {
	case base == "none":
		j.base = base
	case isLayout:
		return j.readLayout(j.path(folder))
	case hasDigest && broker.Digest(digest).Valid():
		j.base, j.pull = digest, base
	case broker.Digest(base).Valid():
		j.base = base
	default:
		return invalid("base_invalid", "the base image is not named by digest", `image.base is "none", "oci:FOLDER" or REFERENCE@sha256:…`, base,
			"name the image by digest; a tag may move")
	}
	return nil
}

// pullBase has a registry's image pulled into a folder below tmp, unless the
// broker has it: a manifest is uploaded after all that it names.
func (j *job) pullBase(ctx context.Context, c *client.Client, tmp string) error {
	if j.pull == "" {
		return nil
	}
	have, err := c.HasBlob(ctx, broker.Digest(j.base))
	if err != nil || have {
		return err
	}
	dir := filepath.Join(tmp, "base")
	store, err := layout.Open(dir)
	if err != nil {
		return fmt.Errorf("make a folder for the base image: %w", err)
	}
	if _, err := remote.Pull(ctx, store, j.pull, remote.Options{PlainHTTP: onThisMachine(j.pull)}); err != nil {
		kind := broker.KindUnavailable
		if errors.Is(err, remote.ErrReference) {
			kind = broker.KindInvalid
		}
		return &broker.Error{
			Kind: kind, Code: "base_pull", Message: "the base image cannot be pulled: " + err.Error(), Value: j.pull,
			Rule: "a base image is pulled by digest from a registry that this machine reaches",
			Help: "check the reference, or pull it elsewhere and use oci:FOLDER", Who: "the registry's owner", Err: err,
		}
	}
	return j.readLayout(dir)
}

// onThisMachine reports whether a reference names a registry on loopback, which
// speaks plain HTTP by custom.
func onThisMachine(ref string) bool {
	host, _, _ := strings.Cut(ref, "/")
	name, _, _ := strings.Cut(host, ":")
	return name == "localhost" || name == "127.0.0.1"
}

func (j *job) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(j.dir, p)
}

// readLayout takes the one image of an OCI layout as base.
func (j *job) readLayout(dir string) error {
	bad := func(rule, value string) error {
		return invalid("base_invalid", "the base image cannot be read", rule, value, "write the layout with one image in it")
	}
	var index ocispec.Index
	b, err := readFile("the base image's index", filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &index); err != nil || len(index.Manifests) != 1 {
		return bad("an OCI layout's index.json names exactly one image", dir)
	}
	m := index.Manifests[0]
	if m.MediaType != ocispec.MediaTypeImageManifest {
		return bad("the image is a single manifest of media type "+ocispec.MediaTypeImageManifest, m.MediaType)
	}
	file := func(d ocispec.Descriptor) (blob, bool) {
		digest := broker.Digest(d.Digest)
		return blob{digest: digest, sizeBytes: d.Size, path: filepath.Join(dir, ocispec.ImageBlobsDir, "sha256", digest.Hex())}, digest.Valid()
	}
	manifest, ok := file(m)
	if !ok {
		return bad("blobs are named by sha256", string(m.Digest))
	}
	if b, err = readFile("the base image's manifest", manifest.path); err != nil {
		return err
	}
	var doc ocispec.Manifest
	if err := json.Unmarshal(b, &doc); err != nil || broker.DigestOf(b) != manifest.digest {
		return bad("a blob has the digest that is its name", manifest.path)
	}
	for _, d := range append([]ocispec.Descriptor{doc.Config}, doc.Layers...) {
		f, ok := file(d)
		if !ok {
			return bad("blobs are named by sha256", string(d.Digest))
		}
		j.baseBlobs = append(j.baseBlobs, f)
	}
	j.baseBlobs = append(j.baseBlobs, manifest)
	j.base = string(manifest.digest)
	return nil
}

// cut makes the job's own layer, in a file below tmp, or nowhere when tmp is
// "": its digest alone is then known. read is told of the bytes written.
func (j *job) cut(ctx context.Context, tmp string, read func(int)) ([]layerCut, error) {
	if j.file.Image.Context == "" {
		return nil, nil
	}
	dst, path := io.Discard, ""
	if tmp != "" {
		f, err := os.CreateTemp(tmp, "layer-*")
		if err != nil {
			return nil, fileError("write the layer", tmp, err)
		}
		defer f.Close() //nolint:errcheck // its digest is checked by the broker
		dst, path = f, f.Name()
	}
	l, err := layer.Cut(ctx, &counter{w: dst, each: read}, j.path(j.file.Image.Context), layer.Options{})
	if err != nil {
		return nil, fromEdge(err)
	}
	return []layerCut{{path: path, layer: broker.Layer{
		Class: "source", MediaType: l.MediaType, Digest: broker.Digest(l.Digest), DiffID: broker.Digest(l.DiffID), SizeBytes: l.SizeBytes,
	}}}, nil
}

func (j *job) spec(cut []layerCut) broker.JobSpec {
	var layers []broker.Layer
	for _, c := range cut {
		layers = append(layers, c.layer)
	}
	return j.file.Spec(layers, j.base)
}

// blobs are all files that the broker must have before the job is submitted.
func (j *job) blobs(cut []layerCut) []blob {
	out := append([]blob{}, j.baseBlobs...)
	for _, c := range cut {
		out = append(out, blob{digest: c.layer.Digest, sizeBytes: c.layer.SizeBytes, path: c.path})
	}
	return out
}

// counter tells of each write.
type counter struct {
	w    io.Writer
	each func(int)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.each != nil {
		c.each(n)
	}
	return n, err
}

// planAtBroker asks the broker.
func planAtBroker(ctx context.Context, e *env, spec broker.JobSpec) (wire.Plan, error) {
	c, err := e.client()
	if err != nil {
		return wire.Plan{}, err
	}
	return c.Plan(ctx, spec)
}

// upload sends a blob unless the broker has it.
func upload(ctx context.Context, c *client.Client, b blob, sent func(int)) error {
	have, err := c.HasBlob(ctx, b.digest)
	if err != nil || have {
		return err
	}
	return c.PutBlob(ctx, b.digest, b.sizeBytes, func() (io.ReadCloser, error) {
		f, err := os.Open(b.path)
		if err != nil {
			return nil, fileError("read a layer", b.path, err)
		}
		return &counting{ReadCloser: f, each: sent}, nil
	})
}

// counting tells of each read.
type counting struct {
	io.ReadCloser
	each func(int)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.each != nil {
		c.each(n)
	}
	return n, err
}

// notAllowed is the error of a plan that does not allow: its exit code says so
// to scripts. The reasons were printed with the plan.
func notAllowed(p wire.Plan) error {
	if p.Verdict == string(broker.VerdictAllow) {
		return nil
	}
	e := &broker.Error{
		Kind: broker.KindNotAdmitted, Code: "plan_" + p.Verdict, Message: "the job would not be admitted as it is",
		Help: "see the reasons above; change the job, or ask who can help",
	}
	if p.Verdict == string(broker.VerdictReview) {
		e.Message, e.Help = "the job would go to review", "submit it; people decide"
	}
	return e
}
