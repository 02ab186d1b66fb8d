package cmd_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/valico-hpc/valico/"

// mayReach is the dependency diagram of README.md: each tree lists the other
// trees that it may reach, directly or through any chain of imports.
var mayReach = map[string][]string{
	"cmd":      {"adapters", "broker", "images", "policy", "slurm", "deploy"},
	"adapters": {"broker", "images", "policy", "slurm"},
	"broker":   {"policy"},
	"deploy":   nil,
	"images":   nil,
	"policy":   nil,
	"slurm":    nil,
}

// never lists what a package must not reach by any chain, ours or foreign: the
// reason stands behind it.
var never = map[string][]string{
	// a node launcher has no network and no policy engine
	"cmd/valico-exec": {
		"net/http", "github.com/open-policy-agent", "github.com/nats-io", "github.com/containerd",
		module + "images/remote", module + "images/layout", module + "broker/admission", module + "policy/rego", "github.com/hashicorp/nomad",
	},
	// adapters translate; they see neither SQL nor the transport
	"adapters": {module + "broker/store", module + "broker/httpapi", module + "broker/client"},
	// the loop declares its ports; cmd wires them
	"broker/dispatch": {module + "broker/store", module + "broker/httpapi", "github.com/containerd"},
	// the order of turns is a pure function
	"broker/queue":          {module + "broker/store", module + "broker/dispatch", module + "policy", "net/http"},
	"broker/store":          {module + "broker/httpapi"},
	"broker/httpapi":        {module + "broker/store"},
	"broker/metrics":        {module + "broker/store", module + "broker/httpapi", "github.com/nats-io"},
	"broker/client":         {module + "broker/store", module + "broker/dispatch", "github.com/open-policy-agent"},
	"broker/ledger/receipt": {"net/http", "github.com/open-policy-agent", module + "policy"},
	"broker/spool":          {"net/http", "github.com"},
	"policy/permit":         {"net/http", "github.com/open-policy-agent"},
	"images/unpack":         {"net/http", "github.com/containerd"},
	"images/sandbox":        {"net/http", "github.com/containerd"},
	"images/dsse":           {"net/http"},
	"images/sign":           {"net/http"},
	"adapters/order":        {"net/http", "github.com/open-policy-agent"},
	"adapters/ticket":       {"net/http", "github.com/open-policy-agent", "github.com/nats-io"},
	"images/registry":       {"github.com/containerd", "github.com/nats-io"},
	"adapters/link":         {"github.com/open-policy-agent", "github.com/containerd", module + "broker/admission"},
}

// packages maps each package of ours to all that it reaches, tests left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Deps ","}}`, module+"...").Output()
	require.NoError(t, err)
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		pkg, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[strings.TrimPrefix(pkg, module)] = strings.Split(deps, ",")
	}
	return all
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for pkg, deps := range packages(t) {
		from := tree(pkg)
		for _, dep := range deps {
			rest, ours := strings.CutPrefix(dep, module)
			if to := tree(rest); ours && to != from && !slices.Contains(mayReach[from], to) {
				t.Errorf("%s reaches %s: %s may not depend on %s", pkg, dep, from, to)
			}
		}
	}
}

func TestNothingReachesWhatItMustNot(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for place, forbidden := range never {
		found := false
		for pkg, deps := range all {
			if pkg != place && !strings.HasPrefix(pkg, place+"/") {
				continue
			}
			found = true
			for _, dep := range deps {
				for _, bad := range forbidden {
					if dep == bad || strings.HasPrefix(dep, bad+"/") {
						t.Errorf("%s reaches %s", pkg, dep)
					}
				}
			}
		}
		require.True(t, found, "no package %s: the rule is stale", place)
	}
}

func TestTheDomainsRootIsTheStandardLibraryAlone(t *testing.T) {
	t.Parallel()
	for _, dep := range packages(t)["broker"] {
		first, _, _ := strings.Cut(dep, "/")
		require.NotContains(t, first, ".", "broker imports %s", dep)
	}
}

func TestNothingImportsCmd(t *testing.T) {
	t.Parallel()
	for pkg, deps := range packages(t) {
		for _, dep := range deps {
			if strings.HasPrefix(dep, module+"cmd/") && !strings.HasPrefix(pkg, "cmd") {
				t.Errorf("%s imports %s", pkg, dep)
			}
		}
	}
}

func tree(pkg string) string {
	top, _, _ := strings.Cut(pkg, "/")
	return top
}
