package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/version"
)

// Verdicts of a Result.
const (
	VerdictAllow  = "allow"
	VerdictDeny   = "deny"
	VerdictReview = "review"
)

// Bases of a Reason.
const (
	BasisInForce         = "in_force"
	BasisNational        = "national"
	BasisPermitCondition = "permit_condition"
	BasisContract        = "contract"
	BasisAnticipated     = "anticipated"
)

// evaluationLimit ends an evaluation that takes absurdly long; a usual one
// takes about a millisecond.
const evaluationLimit = 30 * time.Second

// ErrNoDecision says that the packs gave no decision of the agreed form. It is
// never an allow.
var ErrNoDecision = errors.New("policy gave no decision")

// Engine evaluates the packs of one digest. It never changes after New and may
// be used concurrently.
type Engine struct {
	query  rego.PreparedEvalQuery
	digest string
}

// New compiles the embedded packs.
func New(ctx context.Context) (*Engine, error) { return newEngine(ctx, embedded) }

func newEngine(ctx context.Context, src fs.FS) (*Engine, error) {
	p, err := loadPacks(src)
	if err != nil {
		return nil, err
	}
	terms := make([]string, 0, len(packs()))
	for _, name := range packs() {
		terms = append(terms, fmt.Sprintf("%q: data.%s.decision", name, name))
	}
	query, err := rego.New(
		rego.Query("decisions := {"+strings.Join(terms, ", ")+"}"),
		rego.Compiler(p.compiler),
		rego.Store(inmem.NewFromObjectWithOpts(p.data, inmem.OptReturnASTValuesOnRead(true))),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare policy packs: %w", err)
	}
	return &Engine{query: query, digest: p.digest}, nil
}

// Digest names the packs that decide: "sha256:…" over their files and the
// capabilities file.
func (e *Engine) Digest() string { return e.digest }

// Version names the linked policy engine.
func (*Engine) Version() string { return "opa " + version.Version }

// Evaluate decides on canonical input bytes. Bytes that are not canonical, an
// evaluation error, a timeout and a result of another form are errors.
func (e *Engine) Evaluate(ctx context.Context, input []byte) (Result, error) {
	if _, err := DecodeInput(input); err != nil {
		return Result{}, err
	}
	return e.evaluate(ctx, input)
}

// evaluate asks the packs alone, without the guard of DecodeInput.
func (e *Engine) evaluate(ctx context.Context, input []byte) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationLimit)
	defer cancel()
	value, err := readValue(input)
	if err != nil {
		return Result{}, fmt.Errorf("read policy input: %w", err)
	}
	rs, err := e.query.Eval(ctx, rego.EvalParsedInput(value))
	if err != nil {
		return Result{}, fmt.Errorf("evaluate policy: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("evaluate policy: %w", err)
	}
	if len(rs) != 1 {
		return Result{}, fmt.Errorf("evaluate policy: %w", ErrNoDecision)
	}
	b, err := json.Marshal(rs[0].Bindings["decisions"], json.Deterministic(true))
	if err != nil {
		return Result{}, fmt.Errorf("read policy result: %w", err)
	}
	return combine(b)
}

// combine reads the decisions of all packs strictly and joins them.
func combine(b []byte) (Result, error) {
	var ds map[string]Result
	if err := json.Unmarshal(b, &ds, json.RejectUnknownMembers(true)); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrNoDecision, err)
	}
	out := Result{Verdict: VerdictAllow, Reasons: []Reason{}, Obligations: []string{}}
	for _, name := range packs() {
		d, ok := ds[name]
		if !ok || len(ds) != len(packs()) {
			return Result{}, fmt.Errorf("%w: packs differ", ErrNoDecision)
		}
		if err := d.check(); err != nil {
			return Result{}, fmt.Errorf("pack %s: %w", name, err)
		}
		out.Verdict = worse(out.Verdict, d.Verdict)
		out.Reasons = append(out.Reasons, d.Reasons...)
		out.Obligations = append(out.Obligations, d.Obligations...)
	}
	slices.SortFunc(out.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Path, b.Path), cmp.Compare(fmt.Sprint(a.Params), fmt.Sprint(b.Params)))
	})
	slices.Sort(out.Obligations)
	out.Obligations = slices.Compact(out.Obligations)
	return out, nil
}

// check holds a pack to the agreed form: a verdict that its reasons bear out.
func (r Result) check() error {
	for _, x := range r.Reasons {
		switch x.Basis {
		case BasisInForce, BasisNational, BasisPermitCondition, BasisContract, BasisAnticipated:
		default:
			return fmt.Errorf("%w: basis %q", ErrNoDecision, x.Basis)
		}
		if x.Code == "" || x.Params == nil {
			return fmt.Errorf("%w: a reason without code or parameters", ErrNoDecision)
		}
	}
	switch r.Verdict {
	case VerdictAllow:
		if len(r.Reasons) == 0 {
			return nil
		}
	case VerdictDeny, VerdictReview:
		if len(r.Reasons) > 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: verdict %q with %d reasons", ErrNoDecision, r.Verdict, len(r.Reasons))
}

// worse is the stricter of two verdicts.
func worse(a, b string) string {
	switch {
	case a == VerdictDeny || b == VerdictDeny:
		return VerdictDeny
	case a == VerdictReview || b == VerdictReview:
		return VerdictReview
	}
	return VerdictAllow
}
