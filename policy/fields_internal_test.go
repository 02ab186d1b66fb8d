package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"
)

// P10: a field that no rule names and that the exemptions do not list fails
// here, and so does an exemption that has become untrue.
func TestEveryFieldOfTheInputIsJudgedOrExempt(t *testing.T) {
	t.Parallel()
	p, err := loadPacks(embedded)
	require.NoError(t, err)
	named := namedFields(p.compiler.Modules)
	leaves := leafFields(reflect.TypeFor[Input](), "")
	require.Greater(t, len(leaves), 150, "the walk found the fields")
	exempt := describing()
	for _, leaf := range leaves {
		reason, listed := exempt[leaf]
		switch {
		case named[leaf]:
			require.False(t, listed, "%s is named by a rule: strike its exemption", leaf)
		default:
			require.NotEmpty(t, reason, "no rule names %s and no exemption lists it", leaf)
		}
		delete(exempt, leaf)
	}
	require.Empty(t, exempt, "exemptions of fields that do not exist")
}

// leafFields lists the JSON paths of t, "[]" for any element of a list.
func leafFields(t reflect.Type, at string) []string {
	switch {
	case t.Kind() == reflect.Pointer:
		return leafFields(t.Elem(), at)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return leafFields(t.Elem(), at+"[]")
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]():
		return []string{strings.TrimPrefix(at, ".")}
	}
	var out []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			panic("a field without a JSON name: " + t.String() + "." + f.Name)
		}
		out = append(out, leafFields(f.Type, at+"."+name)...)
	}
	return out
}

// namedFields lists the paths of input that compiled rules refer to. The rules
// of form.rego are left out: that a field is there says nothing of its value.
func namedFields(modules map[string]*ast.Module) map[string]bool {
	out := map[string]bool{}
	for file, m := range modules {
		if strings.HasSuffix(file, "/form.rego") && !strings.Contains(file, "_test") {
			m = formWithoutKeys(m)
		}
		ast.WalkRefs(m, func(r ast.Ref) bool {
			out[fieldOf(r)] = true
			return false
		})
	}
	return out
}

// formWithoutKeys keeps the rules of form.rego that judge a value.
func formWithoutKeys(m *ast.Module) *ast.Module {
	out := m.Copy()
	out.Rules = slices.DeleteFunc(out.Rules, func(r *ast.Rule) bool { return r.Head.Ref().String() == "missing" })
	return out
}

// fieldOf turns a reference into a path of input, "" for others.
func fieldOf(r ast.Ref) string {
	s := r.String()
	for alias, path := range map[string]string{"data.lib.document": "input.permits[0].document", "data.lib.permit": "input.permits[0]"} {
		if rest, ok := strings.CutPrefix(s, alias); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			s = path + rest
		}
	}
	s, ok := strings.CutPrefix(s, "input.")
	if !ok {
		return ""
	}
	s = regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(s, "[]")
	return strings.TrimSuffix(s, "[]")
}

// A missing field never allows, whether the bytes reach the packs or are
// refused before. Members of every object of three complete inputs are removed
// in turn, whole lists and objects too.
func TestNoFieldCanBeRemovedAndStillAllow(t *testing.T) {
	t.Parallel()
	e := engine(t)
	may := describing()
	maps.Copy(may, optional())
	for name, in := range map[string]Input{"admission": admissionInput(), "clearance": clearanceInput(), "based": basedInput()} {
		whole := encode(t, in)
		r, err := e.Evaluate(t.Context(), whole)
		require.NoError(t, err)
		require.Equal(t, VerdictAllow, r.Verdict, "%s: %v", name, r.Reasons)
		removals := removeEach(t, whole)
		require.Greater(t, len(removals), 150, "the walk found the fields")
		for path, cut := range removals {
			r, err := e.evaluate(t.Context(), cut)
			if err == nil && r.Verdict != VerdictDeny {
				require.True(t, within(may, path), "%s without %s: %s", name, path, r.Verdict)
			}
			r, err = e.Evaluate(t.Context(), cut)
			if err == nil && r.Verdict != VerdictDeny {
				require.True(t, within(optional(), path), "%s without %s: %s", name, path, r.Verdict)
			}
		}
	}
}

// removeEach gives b with one member removed, by the member's path.
func removeEach(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	var root any
	require.NoError(t, json.Unmarshal(b, &root))
	out := map[string][]byte{}
	var walk func(v any, at string)
	walk = func(v any, at string) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x, at+"[]")
			}
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				path, kept := strings.TrimPrefix(at+"."+key, "."), v[key]
				delete(v, key)
				cut, err := json.Marshal(root)
				require.NoError(t, err)
				// Two elements of one list have the same path; keep each.
				if _, taken := out[path]; taken {
					path = fmt.Sprintf("%s#%d", path, len(out))
				}
				out[path] = inOrder(t, cut)
				v[key] = kept
				walk(kept, at+"."+key)
			}
		}
	}
	walk(root, "")
	return out
}

// inOrder writes cut as Canonical would if the removed member may be absent;
// where it may not, the bytes stay as they are and are refused.
func inOrder(t *testing.T, cut []byte) []byte {
	t.Helper()
	var in Input
	if json.Unmarshal(cut, &in) != nil {
		return cut
	}
	again, err := Canonical(in)
	require.NoError(t, err)
	if members(again) == members(cut) {
		return again
	}
	return cut
}

// members counts what looks like members of objects.
func members(b []byte) int { return strings.Count(string(b), `":`) }

// within reports whether a path, or every leaf below it, is in a table.
func within(table map[string]string, path string) bool {
	path, _, _ = strings.Cut(path, "#")
	if _, ok := table[path]; ok {
		return true
	}
	below := slices.DeleteFunc(leafFields(reflect.TypeFor[Input](), ""), func(leaf string) bool {
		return !strings.HasPrefix(leaf, path+".")
	})
	return len(below) > 0 && !slices.ContainsFunc(below, func(leaf string) bool { return table[leaf] == "" })
}
