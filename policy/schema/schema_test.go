package schema_test

import (
	"os"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy/schema"
)

func TestGeneratedFilesAreFresh(t *testing.T) {
	t.Parallel()
	for file, generate := range map[string]func() ([]byte, error){
		"input.schema.json": schema.Input, "capabilities.json": schema.Capabilities,
	} {
		want, err := generate()
		require.NoError(t, err)
		have, err := os.ReadFile("../rego/" + file)
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "%s is stale: run go generate ./policy", file)
	}
}

// No rule may look at a clock, draw lots, or reach a network or the machine.
func TestCapabilitiesHoldNothingImpure(t *testing.T) {
	t.Parallel()
	b, err := schema.Capabilities()
	require.NoError(t, err)
	caps, err := ast.LoadCapabilitiesJSON(strings.NewReader(string(b)))
	require.NoError(t, err)
	require.Empty(t, caps.AllowNet)
	require.NotNil(t, caps.AllowNet, "an empty list allows no host; a missing one allows all")
	for _, builtin := range caps.Builtins {
		require.False(t, builtin.Nondeterministic, "%s", builtin.Name)
		for _, prefix := range []string{"http.", "net.", "rand.", "opa.", "time.now", "uuid.", "trace", "print", "internal.print", "io.jwt", "crypto."} {
			require.False(t, strings.HasPrefix(builtin.Name, prefix), "%s", builtin.Name)
		}
	}
}
