// Command generate writes the packs' input.schema.json and capabilities.json
// into the folder given as its only argument.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/valico-hpc/valico/policy/schema"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate: error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: generate FOLDER")
	}
	for name, make := range map[string]func() ([]byte, error){
		"input.schema.json": schema.Input, "capabilities.json": schema.Capabilities,
	} {
		b, err := make()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(args[0], name), b, 0o600); err != nil { //nolint:gosec // go generate names the folder
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
