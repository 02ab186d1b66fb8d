package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/images/layout"
)

// ErrReference says that an image reference is refused before any registry is
// asked.
var ErrReference = errors.New("unusable image reference")

// maxReference bounds a reference's length.
const maxReference = 1024

// Options say how a registry is spoken to; the zero value is usable.
type Options struct {
	// PlainHTTP speaks HTTP instead of HTTPS; refused unless the registry is on
	// this machine.
	PlainHTTP bool
	// Credentials returns a user and a secret for a registry host, or two empty
	// strings. With an empty user the secret is a token.
	Credentials func(host string) (user, secret string, err error)
	// Client is used in place of a client of our own.
	Client *http.Client
}

// Pull copies the image that ref names by digest into the store and returns
// that digest. A reference without a digest is refused: a tag may be moved by
// whoever holds the registry.
func Pull(ctx context.Context, store *layout.Store, ref string, o Options) (string, error) {
	r, err := parse(ref)
	if err != nil {
		return "", err
	}
	if o.PlainHTTP && !loopback(r.host) {
		return "", fmt.Errorf("%w: plain HTTP is for registries on this machine, not for %q; use HTTPS", ErrReference, r.host)
	}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(o.registry()...)})
	_, desc, err := resolver.Resolve(ctx, r.name)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r.name, notFound(err))
	}
	if desc.Digest != r.digest {
		return "", fmt.Errorf("pull %s: %w: the registry answered with %s", r.name, layout.ErrDigest, desc.Digest)
	}
	fetcher, err := resolver.Fetcher(ctx, r.name)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r.name, err)
	}
	if err := store.Import(ctx, r.digest.String(), fetch(fetcher, desc)); err != nil {
		return "", fmt.Errorf("pull %s: %w", r.name, err)
	}
	return r.digest.String(), nil
}

func (o Options) registry() []docker.RegistryOpt {
	opts := []docker.RegistryOpt{docker.WithPlainHTTP(func(string) (bool, error) { return o.PlainHTTP, nil })}
	client := o.Client
	if client == nil {
		client = &http.Client{Transport: docker.DefaultHTTPTransport(nil)}
	}
	opts = append(opts, docker.WithClient(client))
	auth := []docker.AuthorizerOpt{docker.WithAuthClient(client)}
	if o.Credentials != nil {
		auth = append(auth, docker.WithAuthCreds(o.Credentials))
	}
	return append(opts, docker.WithAuthorizer(docker.NewDockerAuthorizer(auth...)))
}

// fetch asks for the manifest as the registry described it: its media type
// decides at which address it is found.
func fetch(f remotes.Fetcher, manifest ocispec.Descriptor) layout.Fetch {
	return func(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
		if d.Digest == manifest.Digest {
			d = manifest
		}
		r, err := f.Fetch(ctx, d)
		if err != nil {
			return nil, notFound(err)
		}
		return r, nil
	}
}

// notFound gives a registry's "not found" the store's name for it.
func notFound(err error) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %w", layout.ErrNotFound, err)
	}
	return err
}

// parsed is a reference that names one image.
type parsed struct {
	name   string // host/path@digest, without any tag
	host   string
	digest digest.Digest
}

func parse(ref string) (parsed, error) {
	bad := func(why string) (parsed, error) {
		return parsed{}, fmt.Errorf("%w: %.200q: %s", ErrReference, ref, why)
	}
	if len(ref) > maxReference {
		return bad("longer than any reference")
	}
	name, dgst, ok := strings.Cut(ref, "@")
	if !ok {
		return bad("no digest; name the image as host/path@sha256:…, because a tag can be moved to another image")
	}
	d, err := digest.Parse(dgst)
	if err != nil || d.Algorithm() != digest.SHA256 {
		return bad("the digest is not sha256 and 64 hex digits")
	}
	spec, err := reference.Parse(ref)
	if err != nil {
		return bad(err.Error())
	}
	host, path, ok := strings.Cut(spec.Locator, "/")
	if !ok || path == "" || !strings.HasPrefix(name, host+"/") {
		return bad("no path after the registry's host")
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return bad("no registry host; there is no default registry")
	}
	return parsed{name: spec.Locator + "@" + d.String(), host: host, digest: d}, nil
}

// loopback reports whether a registry host can only be this machine.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}
