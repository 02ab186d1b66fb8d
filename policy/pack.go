package policy

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// embedded holds the packs as they were built in.
//
//go:embed rego/*/*.rego rego/site/data.json rego/capabilities.json
var embedded embed.FS

// capabilitiesFile lists the built-in functions that rules may call.
const capabilitiesFile = "rego/capabilities.json"

// packs names the packs that decide; lib only helps them.
func packs() []string { return []string{"eu", "sandbox", "site"} }

// pack is what decides: the rules, their data and what they may call.
type pack struct {
	compiler *ast.Compiler
	data     map[string]any
	digest   string
}

// loadPacks compiles the rules of src, tests left out. The digest is SHA-256
// over one line per file, as sha256sum prints it, in the order of the paths.
func loadPacks(src fs.FS) (pack, error) {
	caps, err := loadCapabilities(src)
	if err != nil {
		return pack{}, err
	}
	files, err := fs.Glob(src, "rego/*/*.rego")
	if err != nil {
		return pack{}, fmt.Errorf("list policy packs: %w", err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.rego") })
	data, err := loadData(src)
	if err != nil {
		return pack{}, err
	}
	files = append(files, capabilitiesFile, dataFile)
	slices.Sort(files)
	sum := sha256.New()
	modules := map[string]*ast.Module{}
	for _, f := range files {
		b, err := fs.ReadFile(src, f)
		if err != nil {
			return pack{}, fmt.Errorf("read policy pack: %w", err)
		}
		one := sha256.Sum256(b)
		_, _ = fmt.Fprintf(sum, "%s  %s\n", hex.EncodeToString(one[:]), f)
		if f == capabilitiesFile || f == dataFile {
			continue
		}
		opts := ast.ParserOptions{Capabilities: caps, ProcessAnnotation: true, RegoVersion: ast.RegoV1}
		if modules[f], err = ast.ParseModuleWithOpts(f, string(b), opts); err != nil {
			return pack{}, fmt.Errorf("parse policy pack: %w", err)
		}
	}
	c := ast.NewCompiler().WithStrict(true).WithCapabilities(caps)
	if c.Compile(modules); c.Failed() {
		return pack{}, fmt.Errorf("compile policy packs: %w", c.Errors)
	}
	return pack{compiler: c, data: data, digest: "sha256:" + hex.EncodeToString(sum.Sum(nil))}, nil
}

func loadCapabilities(src fs.FS) (*ast.Capabilities, error) {
	b, err := fs.ReadFile(src, capabilitiesFile)
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	caps, err := ast.LoadCapabilitiesJSON(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	return caps, nil
}
