package policy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/stretchr/testify/require"
)

// sources reads every Rego file, tests too.
func sources(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("rego/*/*.rego")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := map[string][]byte{}
	for _, f := range files {
		out[f], err = os.ReadFile(f)
		require.NoError(t, err)
	}
	return out
}

func TestRegoTestsPassAndCoverEveryLine(t *testing.T) {
	t.Parallel()
	modules := map[string]*ast.Module{}
	for f, b := range sources(t) {
		m, err := ast.ParseModuleWithOpts(f, string(b), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		require.NoError(t, err)
		modules[f] = m
	}
	data, err := loadData(embedded)
	require.NoError(t, err)
	data["fixture"] = fixtureData(t)
	store := inmem.NewFromObject(data)
	txn, err := store.NewTransaction(t.Context())
	require.NoError(t, err)
	defer store.Abort(t.Context(), txn)
	coverage := cover.New()
	runner := tester.NewRunner().SetStore(store).SetModules(modules).SetCoverageQueryTracer(coverage).
		SetCompiler(ast.NewCompiler().WithStrict(true)).CapturePrintOutput(true).SetTimeout(2 * time.Minute)
	results, err := runner.RunTests(t.Context(), txn)
	require.NoError(t, err)
	n := 0
	for r := range results {
		n++
		require.NoError(t, r.Error)
		require.False(t, r.Skip, "%s.%s is skipped", r.Package, r.Name)
		if !r.Pass() {
			t.Errorf("%s.%s at %s\n%s%s", r.Package, r.Name, r.Location, r.SubResults, r.Output)
		}
	}
	require.Greater(t, n, 20, "the runner found the tests")
	for f, report := range coverage.Report(modules).Files {
		if !strings.HasSuffix(f, "_test.rego") {
			for _, lines := range report.NotCovered {
				t.Errorf("no test covers %s lines %d to %d", f, lines.Start.Row, lines.End.Row)
			}
		}
	}
}

func fixtureData(t *testing.T) map[string]any {
	t.Helper()
	b, err := os.ReadFile("rego/fixture/data.json")
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

// The Rego tests start from the same inputs as the Go tests.
func TestTheRegoFixtureIsFresh(t *testing.T) {
	t.Parallel()
	fresh := map[string]json.RawMessage{}
	for name, in := range map[string]Input{
		"admission": admissionInput(), "clearance": clearanceInput(), "based": basedInput(), "real": realInput(),
	} {
		fresh[name] = encode(t, in)
	}
	b, err := json.MarshalIndent(fresh, "", "  ")
	require.NoError(t, err)
	golden(t, "rego/fixture/data.json", append(b, '\n'))
}

func TestRegoIsFormatted(t *testing.T) {
	t.Parallel()
	for f, b := range sources(t) {
		formatted, err := format.SourceWithOpts(f, b, format.Opts{RegoVersion: ast.RegoV1})
		require.NoError(t, err)
		if *update && string(formatted) != string(b) {
			require.NoError(t, os.WriteFile(f, formatted, 0o644))
			continue
		}
		require.Equal(t, string(formatted), string(b), "%s: run opa fmt, or this test with -update", f)
	}
}

// The compiler evaluates the arguments of a negated call before the call: where
// one is missing the whole body is undefined and nothing is denied. So a rule
// negates a reference, an equation or a helper, never a call on input.
func TestNegationNeverHidesAMissingField(t *testing.T) {
	t.Parallel()
	for f, b := range sources(t) {
		if strings.HasSuffix(f, "_test.rego") {
			continue
		}
		m, err := ast.ParseModuleWithOpts(f, string(b), ast.ParserOptions{RegoVersion: ast.RegoV1})
		require.NoError(t, err)
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if !e.Negated || !e.IsCall() || e.Operator().Equal(ast.Equal.Ref()) {
				return false
			}
			for _, arg := range e.Operands() {
				ast.WalkRefs(arg, func(r ast.Ref) bool {
					require.False(t, strings.HasPrefix(r.String(), "input") || strings.HasPrefix(r.String(), "lib.") ||
						strings.HasPrefix(r.String(), "document"), "%s: a negated call on %s", e.Location, r)
					return false
				})
			}
			return false
		})
	}
}

// Every code stands in the whole reason set of some case.
func TestEveryCodeHasACase(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	for f, b := range sources(t) {
		if strings.HasSuffix(f, "_test.rego") {
			tests.Write(b)
		}
	}
	found, err := Codes()
	require.NoError(t, err)
	require.Greater(t, len(found), 60, "the packs' codes were found")
	for _, code := range found {
		require.Contains(t, tests.String(), `"code": "`+code.Code+`"`)
	}
}

func TestAnInputWithNothingInItIsDeniedByEveryPackThatJudgesPermits(t *testing.T) {
	t.Parallel()
	r, err := engine(t).evaluate(t.Context(), []byte("{}"))
	require.NoError(t, err)
	require.Equal(t, VerdictDeny, r.Verdict)
	require.Subset(t, codes(r), []string{"permit_unverified", "person_not_listed", "site_no_account", "input_incomplete"})
}
