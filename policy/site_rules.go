package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// ErrRulesDigest says that a folder does not hold the rules that were pinned.
var ErrRulesDigest = errors.New("the site's rules are not the ones that were pinned")

// Bounds of a site's rules.
const (
	maxRuleFiles = 200
	maxRuleBytes = 4 << 20
)

// SiteRules are a site's own rules: package site of a folder at the site,
// evaluated there on each work order, in addition to what the packs decided at
// the broker. They may refuse and never permit. They never change after
// LoadSiteRules and may be used concurrently.
type SiteRules struct {
	query  rego.PreparedEvalQuery
	digest string
}

// SiteInput is what a site's rules see: facts that were verified before.
type SiteInput struct {
	Now     string         `json:"now"` // RFC 3339, UTC
	Site    string         `json:"site"`
	Account string         `json:"account"`
	Person  string         `json:"person"`
	Order   map[string]any `json:"order"`
	Spec    map[string]any `json:"spec"`   // the canonical job spec
	Permit  map[string]any `json:"permit"` // the permit's document
	Image   SiteImage      `json:"image"`
}

// SiteImage is an order's image.
type SiteImage struct {
	Digest   string         `json:"digest"`
	Manifest map[string]any `json:"manifest"`
	Config   map[string]any `json:"config"`
}

// LoadSiteRules compiles the rules of a folder, tests left out, if its digest is
// the one that was pinned: SHA-256 over one line per file, as sha256sum prints
// it, in the order of the names. They may call what the embedded packs may.
func LoadSiteRules(ctx context.Context, src fs.FS, pinned string) (*SiteRules, error) {
	files, digest, err := readRules(src)
	if err != nil {
		return nil, err
	}
	if digest != pinned {
		return nil, fmt.Errorf("%w: they have the digest %s", ErrRulesDigest, digest)
	}
	caps, err := loadCapabilities(embedded)
	if err != nil {
		return nil, err
	}
	modules, data := map[string]*ast.Module{}, map[string]any{}
	for name, b := range files {
		if name == "data.json" {
			if err := json.Unmarshal(b, &data); err != nil {
				return nil, fmt.Errorf("read the data of the site's rules: %w", err)
			}
			continue
		}
		m, err := ast.ParseModuleWithOpts(name, string(b), ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, fmt.Errorf("parse the site's rules: %w", err)
		}
		modules[name] = m
	}
	c := ast.NewCompiler().WithStrict(true).WithCapabilities(caps)
	if c.Compile(modules); c.Failed() {
		return nil, fmt.Errorf("compile the site's rules: %w", c.Errors)
	}
	query, err := rego.New(rego.Query("decision := data.site.decision"), rego.Compiler(c),
		rego.Store(inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true)))).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare the site's rules: %w", err)
	}
	return &SiteRules{query: query, digest: digest}, nil
}

// readRules reads the files that count, and their digest.
func readRules(src fs.FS) (map[string][]byte, string, error) {
	names, err := fs.Glob(src, "*")
	if err != nil {
		return nil, "", fmt.Errorf("list the site's rules: %w", err)
	}
	names = slices.DeleteFunc(names, func(f string) bool {
		return f != "data.json" && (!strings.HasSuffix(f, ".rego") || strings.HasSuffix(f, "_test.rego"))
	})
	if len(names) == 0 || len(names) > maxRuleFiles {
		return nil, "", fmt.Errorf("read the site's rules: %d files, at least one and at most %d", len(names), maxRuleFiles)
	}
	slices.Sort(names)
	files, sum, size := map[string][]byte{}, sha256.New(), 0
	for _, f := range names {
		b, err := fs.ReadFile(src, f)
		if err != nil {
			return nil, "", fmt.Errorf("read the site's rules: %w", err)
		}
		if size += len(b); size > maxRuleBytes {
			return nil, "", fmt.Errorf("read the site's rules: more than %d bytes", maxRuleBytes)
		}
		one := sha256.Sum256(b)
		_, _ = fmt.Fprintf(sum, "%s  %s\n", hex.EncodeToString(one[:]), f)
		files[f] = b
	}
	return files, "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// Digest names the rules.
func (r *SiteRules) Digest() string { return r.digest }

// Evaluate decides on one order. An evaluation error, a timeout and a decision
// of another form are errors, and an error is never an allow.
func (r *SiteRules) Evaluate(ctx context.Context, in SiteInput) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationLimit)
	defer cancel()
	b, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return Result{}, fmt.Errorf("write the input of the site's rules: %w", err)
	}
	value, err := readValue(b)
	if err != nil {
		return Result{}, fmt.Errorf("read the input of the site's rules: %w", err)
	}
	rs, err := r.query.Eval(ctx, rego.EvalParsedInput(value))
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Result{}, fmt.Errorf("evaluate the site's rules: %w", err)
	}
	if len(rs) != 1 {
		return Result{}, fmt.Errorf("evaluate the site's rules: %w", ErrNoDecision)
	}
	if b, err = json.Marshal(rs[0].Bindings["decision"], json.Deterministic(true)); err != nil {
		return Result{}, fmt.Errorf("read the decision of the site's rules: %w", err)
	}
	var d Result
	if err := json.Unmarshal(b, &d, json.RejectUnknownMembers(true)); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrNoDecision, err)
	}
	if err := d.check(); err != nil {
		return Result{}, fmt.Errorf("the site's rules: %w", err)
	}
	return d, nil
}
