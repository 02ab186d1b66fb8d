package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/valico-hpc/valico/policy"
)

// allowed are the built-in functions that rules may call: pure ones, without
// clock, chance, network or knowledge of the machine.
func allowed() []string {
	return []string{
		"and", "array.concat", "assign", "concat", "count", "eq", "equal", "gt", "gte", "internal.member_2", "internal.member_3",
		"is_array", "is_boolean", "is_number", "is_object", "is_string", "lt", "lte", "max", "minus", "mul", "neq",
		"numbers.range", "object.get", "object.keys", "object.union", "or", "plus", "regex.match", "sort", "split",
		"sprintf", "startswith", "substring", "time.parse_rfc3339_ns", "trim_left",
	}
}

// Capabilities is the capabilities file of the packs, cut from those of the
// linked engine.
func Capabilities() ([]byte, error) {
	caps := ast.CapabilitiesForThisVersion()
	names := allowed()
	kept := slices.DeleteFunc(slices.Clone(caps.Builtins), func(b *ast.Builtin) bool { return !slices.Contains(names, b.Name) })
	if len(kept) != len(names) {
		return nil, fmt.Errorf("the engine has %d of %d allowed functions", len(kept), len(names))
	}
	return indent(map[string]any{
		"builtins": kept, "features": caps.Features, "future_keywords": caps.FutureKeywords, "allow_net": []string{},
	})
}

// Input is the JSON schema of policy.Input.
func Input() ([]byte, error) {
	r := jsonschema.Reflector{Anonymous: true, Namer: name}
	s := r.Reflect(&policy.Input{})
	s.Title = "Input of Valico's policy packs, " + policy.InputSchema
	return indent(s)
}

// name tells the permit document's types from those of the input.
func name(t reflect.Type) string {
	if strings.HasSuffix(t.PkgPath(), "/permit") {
		return "Document" + strings.TrimPrefix(t.Name(), "Document")
	}
	return t.Name()
}

func indent(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(b, '\n'), nil
}
