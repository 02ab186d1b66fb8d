package slurm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documents are the reduced OpenAPI documents by release and version.
func documents(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob("testdata/schema/*.json")
	require.NoError(t, err)
	out := map[string]map[string]any{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var doc map[string]any
		require.NoError(t, json.Unmarshal(b, &doc), f)
		out[strings.TrimSuffix(filepath.Base(f), ".json")] = doc
	}
	return out
}

func versionOf(name string) string { return name[strings.LastIndex(name, "-")+1:] }

func TestEveryVersionThatIsSpokenHasItsSchemaHere(t *testing.T) {
	t.Parallel()
	var have []string
	for name := range documents(t) {
		have = append(have, versionOf(name))
	}
	for _, v := range Versions() {
		require.Contains(t, have, v)
	}
	for _, v := range have {
		require.Contains(t, Versions(), v, "a version that is stored and not spoken")
	}
	require.True(t, slices.IsSortedFunc(Versions(), func(a, b string) int { return strings.Compare(b, a) }), "newest first")
}

// enums returns the words of every list of states in a document.
func enums(t *testing.T, doc map[string]any) []string {
	t.Helper()
	job := doc["job"].(map[string]any)["jobs"].([]any)[0].(map[string]any)
	db := doc["db"].(map[string]any)["jobs"].([]any)[0].(map[string]any)
	var out []string
	for _, list := range []any{job["job_state"], db["state"].(map[string]any)["current"]} {
		words, ok := strings.CutPrefix(list.([]any)[0].(string), "enum ")
		require.True(t, ok)
		out = append(out, strings.Fields(words)...)
	}
	require.GreaterOrEqual(t, len(out), 2*27)
	return out
}

func TestEveryWordAndFlagOfEveryVersionHasARole(t *testing.T) {
	t.Parallel()
	seen := map[JobState]bool{}
	for name, doc := range documents(t) {
		for _, w := range enums(t, doc) {
			require.NotEqual(t, RoleUnknown, JobState(w).Role(), "%s: %s", name, w)
			seen[JobState(w)] = true
		}
	}
	require.Len(t, seen, 28)
	require.Equal(t, RoleUnknown, JobState("HIBERNATED").Role())
	require.Equal(t, RoleUnknown, JobState("").Role())
}

// standIns are the fields that a version lacks, with what stands in for each.
func standIns() map[string]string {
	return map[string]string{
		"v0.0.40 cancelled.status":        "dialect.cancelByList",
		"v0.0.41 cancelled.status":        "dialect.cancelByList",
		"v0.0.40 ping.pings[].responding": "pinged",
		"v0.0.41 ping.pings[].responding": "pinged",
		"v0.0.45 ping.pings[].pinged":     "responding",
	}
}

// TestEveryFieldThatIsSentOrReadIsInTheSchema walks our own types, so that a
// field that is added to one of them is compared, too.
func TestEveryFieldThatIsSentOrReadIsInTheSchema(t *testing.T) {
	t.Parallel()
	type jobs[T any] struct {
		Jobs []T `json:"jobs"`
	}
	ours := map[string]any{
		"submit": struct {
			Job descWire `json:"job"`
		}{}, "submitted": submitAnswer{}, "cancelled": cancelAnswer{}, "kill": killWire{}, "killed": cancelAnswer{},
		"job": jobs[jobWire]{}, "db": jobs[dbJobWire]{}, "ping": pingWire{},
		"partitions": struct {
			P []named `json:"partitions"`
		}{}, "reservations": struct {
			R []named `json:"reservations"`
		}{}, "nodes": struct {
			N []nodeWire `json:"nodes"`
		}{}, "associations": struct {
			A []associationWire `json:"associations"`
		}{},
	}
	lacking := map[string]bool{}
	for name, doc := range documents(t) {
		for part, v := range ours {
			compare(t, doc[part], reflect.TypeOf(v), part, func(at, what string) {
				key := versionOf(name) + " " + at
				if standIns()[key] == "" {
					t.Errorf("%s: %s", key, what)
				}
				lacking[key] = true
			})
		}
		for _, q := range []string{"users", "job_name", "start_time", "skip_steps", "show_duplicates"} {
			require.Equal(t, "query", doc["db_query"].(map[string]any)[q], "%s %s", name, q)
		}
		require.Equal(t, "query", doc["cancel_query"].(map[string]any)["signal"], name)
	}
	for key := range standIns() {
		require.True(t, lacking[key], "%s is there by now", key)
	}
	for _, d := range dialects() {
		require.Equal(t, d.cancelByList, lacking[d.version+" cancelled.status"], d.version)
	}
}

func compare(t *testing.T, schema any, typ reflect.Type, at string, report func(at, what string)) {
	t.Helper()
	switch typ {
	case reflect.TypeFor[Number]():
		if schema != "number" {
			report(at, "is not a number with set and infinite")
		}
		return
	case reflect.TypeFor[words]():
		if a, ok := schema.([]any); !ok || !strings.HasPrefix(a[0].(string), "enum ") && a[0] != "string" {
			report(at, "is not an array of words")
		}
		return
	}
	switch typ.Kind() { //nolint:exhaustive // the kinds that our types have
	case reflect.Pointer:
		if typ == reflect.TypeFor[*numberWire]() {
			compare(t, schema, reflect.TypeFor[Number](), at, report)
			return
		}
		compare(t, schema, typ.Elem(), at, report)
	case reflect.String:
		if schema != "string" {
			report(at, "is no string")
		}
	case reflect.Bool:
		if schema != "boolean" {
			report(at, "is no boolean")
		}
	case reflect.Int, reflect.Int64, reflect.Uint32:
		if schema != "integer" {
			report(at, "is no integer")
		}
	case reflect.Slice:
		a, ok := schema.([]any)
		if !ok {
			report(at, "is no array")
			return
		}
		compare(t, a[0], typ.Elem(), at+"[]", report)
	case reflect.Struct:
		m, ok := schema.(map[string]any)
		if !ok {
			report(at, "is no object")
			return
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if typ == reflect.TypeFor[message]() && (name == "error" || name == "error_number") && strings.Contains(at, "warnings") {
				continue // a warning is an error without a number
			}
			if _, ok := m[name]; !ok {
				report(at+"."+name, "is not there")
				continue
			}
			compare(t, m[name], f.Type, at+"."+name, report)
		}
	default:
		t.Fatalf("%s: no rule for %s", at, typ)
	}
}
