package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

type fetchOptions struct {
	job   string
	paths []string
	dir   string
	force bool
}

func newFetchCommand(e *env) *cobra.Command {
	var o fetchOptions
	c := &cobra.Command{
		Use: "fetch JOB [PATH...]", Short: "Fetch released outputs", Args: argsFrom("JOB"),
		Long: help("Fetch copies released outputs to this machine and checks each against the digest that the reviewer released.\n"+
			"A file that does not match is not kept. What is not released looks as if it did not exist.",
			"valico fetch JOB --dir results", "valico fetch JOB model.json"),
		RunE: func(c *cobra.Command, a []string) error {
			o.job, o.paths = a[0], a[1:]
			return runFetch(c.Context(), o, e)
		},
	}
	c.Flags().StringVarP(&o.dir, "dir", "d", ".", "folder to write to")
	c.Flags().BoolVar(&o.force, "force", false, "replace files that are there")
	return c
}

func runFetch(ctx context.Context, o fetchOptions, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	files, err := released(ctx, c, o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil { //nolint:gosec // a folder of the person's own
		return fileError("make the folder", o.dir, err)
	}
	root, err := os.OpenRoot(o.dir)
	if err != nil {
		return fileError("open the folder", o.dir, err)
	}
	defer root.Close() //nolint:errcheck // nothing to flush
	bars := e.newBars()
	defer bars.wait()
	out := []wire.OutputFile{}
	for _, f := range files {
		if err := fetchOne(ctx, c, root, o, f, bars); err != nil {
			return err
		}
		out = append(out, f)
	}
	bars.wait()
	return e.emit(out, func(w io.Writer) {
		rows := [][]string{{"FILE", "SIZE", "DIGEST"}}
		for _, f := range out {
			rows = append(rows, []string{f.Path, size(f.SizeBytes), f.Digest})
		}
		table(w, rows...)
	})
}

// released picks the files wanted from the newest released manifest.
func released(ctx context.Context, c *client.Client, o fetchOptions) ([]wire.OutputFile, error) {
	outs, err := c.Outputs(ctx, o.job)
	if err != nil {
		return nil, err
	}
	var files []wire.OutputFile
	seen := map[string]bool{}
	for _, s := range slices.Backward(outs.Outputs) {
		for _, f := range s.Files {
			if s.Released && !seen[f.Path] && (len(o.paths) == 0 || slices.Contains(o.paths, f.Path)) {
				files = append(files, f)
				seen[f.Path] = true
			}
		}
	}
	for _, p := range o.paths {
		if !seen[p] {
			return nil, notReleased(o.job, p)
		}
	}
	if len(files) == 0 {
		return nil, notReleased(o.job, "")
	}
	return files, nil
}

func notReleased(job, p string) error {
	return &broker.Error{
		Kind: broker.KindNotFound, Code: "output_not_released", Message: "no such released output", Value: p,
		Rule: "outputs stay in the site's quarantine until a reviewer releases them",
		Help: "see what there is with: valico outputs list " + job, Who: "a reviewer of your permit authority",
	}
}

// fetchOne writes one file whole or not at all, below the folder and nowhere else.
func fetchOne(ctx context.Context, c *client.Client, root *os.Root, o fetchOptions, f wire.OutputFile, bars *bars) error {
	if _, err := root.Lstat(f.Path); err == nil && !o.force {
		return invalid("file_exists", "the file is there already", "fetch does not overwrite", f.Path, "use --force, or another --dir")
	}
	r, err := c.Fetch(ctx, o.job, f.Path, broker.Digest(f.Digest))
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	if dir := path.Dir(f.Path); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return fileError("make the folder", dir, err)
		}
	}
	tmp := f.Path + ".valico-part"
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("remove a half file", tmp, err)
	}
	w, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fileError("write the file", f.Path, err)
	}
	bar := bars.add(f.Path, f.SizeBytes)
	n, err := io.Copy(w, io.LimitReader(bar.through(r), f.SizeBytes+1)) // the byte too many is also where the digest is compared
	bar.done()
	if err == nil && n != f.SizeBytes {
		err = &broker.Error{
			Kind: broker.KindConflict, Code: "output_size", Message: "the output is longer than what the reviewer released", Value: f.Path,
			Rule: fmt.Sprintf("a released file has the %d bytes of the sealed manifest", f.SizeBytes),
			Help: "do not use the file; tell the site operator", Who: "the site operator",
		}
	}
	if err = errors.Join(err, w.Close()); err == nil {
		err = root.Rename(tmp, f.Path)
	}
	if err != nil {
		_ = root.Remove(tmp) // a half file is of no use to anybody
		return fmt.Errorf("fetch %s: %w", f.Path, err)
	}
	return nil
}
