package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// DatasetDigest is the digest of a dataset's manifest: one line for each
// regular file below dir, in byte order of their paths,
//
//	<sha256 in hex> <size in bytes> <slash-separated path>\n
//
// Anything but files and folders is refused: what a link points to could
// change without the manifest changing.
func DatasetDigest(dir string) (broker.Digest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("open dataset: %w", err)
	}
	defer root.Close() //nolint:errcheck // only read from
	var manifest strings.Builder
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read from
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		fmt.Fprintf(&manifest, "%s %d %s\n", hex.EncodeToString(h.Sum(nil)), n, path)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read dataset: %w", err)
	}
	if manifest.Len() == 0 {
		return "", fmt.Errorf("read dataset: %s holds no file", dir)
	}
	return broker.DigestOf([]byte(manifest.String())), nil
}

// checkDatasets hashes the datasets that lie where this process can read them
// and refuses a registry entry whose digest is another's.
func checkDatasets(ds []broker.Dataset) error {
	for i, d := range ds {
		got, err := DatasetDigest(d.Path)
		if err == nil && got == d.Digest {
			continue
		}
		e := &broker.Error{
			Kind: broker.KindInvalid, Code: "dataset_digest", Message: fmt.Sprintf("datasets[%d] cannot be admitted", i), Value: d.PURI,
			Rule: "a registry entry names the digest of the dataset's manifest", Who: "the site operator", Err: err,
			Help: "correct path or digest",
		}
		if err == nil {
			e.Help = "the manifest's digest is " + string(got)
		}
		return e
	}
	return nil
}
