package cmd_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/valico-hpc/valico/"

// mayImport is the dependency diagram of README.md: each tree lists the other
// trees it may reach, directly or through any chain of imports.
var mayImport = map[string][]string{
	"cmd":      {"adapters", "broker", "images", "policy", "slurm"},
	"adapters": {"broker", "images", "policy", "slurm"},
	"broker":   {"policy"},
	"images":   nil,
	"policy":   nil,
	"slurm":    nil,
}

func TestLayers(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Deps ","}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
		from := tree(pkg)
		for dep := range strings.SplitSeq(deps, ",") {
			to := tree(dep)
			if to == "" || to == from {
				continue
			}
			if !slices.Contains(mayImport[from], to) {
				t.Errorf("%s reaches %s: %s may not depend on %s", pkg, dep, from, to)
			}
		}
	}
}

func tree(pkg string) string {
	rest, ok := strings.CutPrefix(pkg, module)
	if !ok {
		return ""
	}
	top, _, _ := strings.Cut(rest, "/")
	return top
}
