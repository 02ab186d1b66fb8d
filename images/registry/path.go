package registry

import (
	"net/http"
	"strings"
)

// Kinds of things in a repository.
const (
	kindManifests = "manifests"
	kindBlobs     = "blobs"
)

// place is what a path names; a kind of "" is the registry itself.
type place struct{ repository, kind, reference string }

type refusal struct {
	status        int
	code, message string
}

// parse takes apart what follows /v2/.
func parse(rest string) (place, *refusal) {
	if rest == "" || rest == "/v2" {
		return place{}, nil
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return place{}, &refusal{http.StatusNotFound, "NAME_UNKNOWN", "a path under /v2/ names a repository and a thing in it"}
	}
	n := len(parts)
	p := place{repository: strings.Join(parts[:n-2], "/"), kind: parts[n-2], reference: parts[n-1]}
	if p.kind != kindManifests && p.kind != kindBlobs {
		return place{}, &refusal{http.StatusNotFound, "UNSUPPORTED", "only manifests and blobs are served, by digest"}
	}
	if len(p.repository) > 255 || !nameForm.MatchString(p.repository) {
		return place{}, &refusal{http.StatusBadRequest, "NAME_INVALID", "not the name of a repository"}
	}
	if p.kind == kindBlobs && !digestForm.MatchString(p.reference) {
		return place{}, &refusal{http.StatusBadRequest, "DIGEST_INVALID", "a digest is sha256 and 64 hexadecimal digits"}
	}
	return p, nil
}
