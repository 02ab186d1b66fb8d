package permit

import (
	"net/url"
	"slices"
	"strings"
)

// Scope bounds what an issuer's key is trusted for. Every list is closed: an
// empty one covers nothing.
type Scope struct {
	Regimes []string
	// DatasetPrefixes are PURIs that cover themselves and what lies below them:
	// the prefix "https://data.example/a" covers "https://data.example/a" and
	// "https://data.example/a/b" but not "https://data.example/ab". A boundary
	// is "/", "?" or "#", and ":" too in a prefix that has no authority part
	// ("urn:example:a" covers "urn:example:a:b"). A prefix that ends in one of
	// its boundaries covers all that starts with it. A PURI with dot segments
	// or percent-encoded dots, slashes or backslashes is covered by nothing.
	DatasetPrefixes []string
	Holders         []string // matched whole
	// SyntheticOnly admits regime SANDBOX with datasets of access format
	// SYNTHETIC and nothing else.
	SyntheticOnly bool
}

// Covers returns nil if the document lies within the scope, else an *Error of
// code permit_scope that names what does not.
func (s Scope) Covers(doc Document) error {
	if !slices.Contains(s.Regimes, doc.LegalRegime) {
		return outside("the issuer is not trusted for this legal regime", doc.LegalRegime, "regimes: "+strings.Join(s.Regimes, ", "))
	}
	if s.SyntheticOnly && doc.LegalRegime != RegimeSandbox {
		return outside("the issuer is trusted for synthetic data only", doc.LegalRegime, "regime "+RegimeSandbox)
	}
	if len(doc.Datasets) == 0 {
		return outside("a permit without datasets is in no scope", "", "a permit names its datasets")
	}
	for _, d := range doc.Datasets {
		switch {
		case !slices.ContainsFunc(s.DatasetPrefixes, func(p string) bool { return covers(p, d.PURI) }):
			return outside("the issuer is not trusted for this dataset", d.PURI, "prefixes: "+strings.Join(s.DatasetPrefixes, ", "))
		case !slices.Contains(s.Holders, d.Holder):
			return outside("the issuer is not trusted for this holder", d.Holder, "holders: "+strings.Join(s.Holders, ", "))
		case s.SyntheticOnly && d.AccessFormat != FormatSynthetic:
			return outside("the issuer is trusted for synthetic data only", d.PURI+" "+d.AccessFormat, "access format "+FormatSynthetic)
		}
	}
	return nil
}

// Check lists what makes a scope wider or other than it reads.
func (s Scope) Check() []Problem {
	var v validator
	v.is(len(s.Regimes) > 0, "regimes", "trust", "", "name at least one legal regime")
	for _, r := range s.Regimes {
		v.is(regimeGivesAccess(r), "regimes", "69(1)", r, "name a regime that gives access")
		v.is(!s.SyntheticOnly || r == RegimeSandbox, "regimes", "trust", r, "a synthetic-only issuer has regime SANDBOX alone")
	}
	v.is(len(s.DatasetPrefixes) > 0, "dataset_prefixes", "trust", "", "name at least one dataset or prefix")
	for _, p := range s.DatasetPrefixes {
		v.is(validPURI(p), "dataset_prefixes", "trust", p, "a prefix has a scheme and an authority or namespace of its own")
	}
	v.is(len(s.Holders) > 0, "holders", "trust", "", "name at least one holder")
	for _, h := range s.Holders {
		v.is(h != "", "holders", "trust", h, "a holder has a name")
	}
	return v.found
}

func covers(prefix, puri string) bool {
	if !validPURI(prefix) || !validPURI(puri) {
		return false
	}
	rest, ok := strings.CutPrefix(puri, prefix)
	if !ok {
		return false
	}
	boundaries := "/?#"
	if !strings.Contains(prefix, "://") {
		boundaries += ":"
	}
	return rest == "" || strings.ContainsAny(rest[:1], boundaries) || strings.ContainsAny(prefix[len(prefix)-1:], boundaries)
}

// validPURI demands an absolute URI whose text says where it is: no dot
// segments, nothing encoded that would hide one, no user information.
func validPURI(s string) bool {
	if s == "" || len(s) > 2048 || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) >= 0 {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.User != nil {
		return false
	}
	lower := strings.ToLower(s)
	for _, hidden := range []string{"%2e", "%2f", "%5c", "%00"} {
		if strings.Contains(lower, hidden) {
			return false
		}
	}
	for segment := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("/?#", r) }) {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return u.Host != "" || strings.Trim(u.Opaque, ":/") != ""
}

func outside(message, value, rule string) error {
	return &Error{
		Code: CodeScope, Message: message, Value: cut(value), Rule: cut(rule),
		Help: "the site operator and the broker pin what each authority's key is trusted for",
	}
}
