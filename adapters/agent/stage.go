package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// stage puts image and order where the node reads them. It is idempotent:
// blobs are named by their digest, and the attempt's folder is made beside its
// place and renamed into it whole.
func (a *Agent) stage(ctx context.Context, r record) error {
	raw, err := os.ReadFile(a.orderPath(r.Attempt))
	if err != nil {
		return fmt.Errorf("read the kept order: %w", err)
	}
	if broker.DigestOf(raw) != r.Digest {
		return order.Refuse(order.CodeMalformed, string(r.Attempt), errors.New("the kept order is not the one that was verified"))
	}
	o, err := order.Decode(raw)
	if err != nil {
		return fmt.Errorf("read the kept order: %w", err)
	}
	if err := a.makeWay(ctx, int64(len(raw))); err != nil {
		return err
	}
	if err := a.stageImage(ctx, o); err != nil {
		return err
	}
	a.cfg.Step("image_staged")
	if err := a.stageCkpt(r, o.Order); err != nil {
		return err
	}
	return a.stageAttempt(r, o.Order, raw)
}

// stageImage copies every blob of the image into the site's OCI layout.
func (a *Agent) stageImage(ctx context.Context, o broker.SignedOrder) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(o.Evidence.Manifest, &m); err != nil {
		return order.Refuse(order.CodeImageTampered, string(o.Order.Image), err)
	}
	root := filepath.Join(a.cfg.Dir, "images")
	for name, body := range map[string]string{
		ocispec.ImageLayoutFile: `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`,
		ocispec.ImageIndexFile:  `{"schemaVersion":2,"manifests":[]}`,
	} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			continue
		}
		if err := writeFile(filepath.Join(root, name), []byte(body), 0o444); err != nil {
			return err
		}
	}
	kept := func(b []byte) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	if err := a.putBlob(o.Order.Image, int64(len(o.Evidence.Manifest)), kept(o.Evidence.Manifest)); err != nil {
		return err
	}
	if err := a.putBlob(broker.Digest(m.Config.Digest), m.Config.Size, kept(o.Evidence.Config)); err != nil {
		return err
	}
	for _, l := range m.Layers {
		d := broker.Digest(l.Digest)
		err := a.putBlob(d, l.Size, func() (io.ReadCloser, error) {
			rc, _, err := a.cfg.Blobs.OpenBlob(ctx, o.Order, d)
			return rc, err
		})
		if err != nil {
			return fmt.Errorf("copy layer %s: %w", d, err)
		}
	}
	return nil
}

// putBlob copies one blob and keeps it only if its bytes have that digest.
func (a *Agent) putBlob(d broker.Digest, size int64, open func() (io.ReadCloser, error)) error {
	if !d.Valid() {
		return order.Refuse(order.CodeImageTampered, string(d), errors.New("a blob without a digest"))
	}
	dir := a.blobDir()
	path := filepath.Join(dir, d.Hex())
	if a.stocked(path, size) {
		return nil // the node checks its digest while it unpacks
	}
	done, err := a.reserve(size)
	if err != nil {
		return fmt.Errorf("copy blob: %w", err)
	}
	defer done()
	rc, err := open()
	if err != nil {
		return fmt.Errorf("open blob: %w", err)
	}
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("copy blob: %w", errors.Join(err, rc.Close()))
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(rc, size+1))
	err = errors.Join(err, rc.Close(), f.Chmod(0o444), f.Sync(), f.Close())
	have := broker.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	if err == nil && (n != size || have != d) {
		err = order.Refuse(order.CodeImageTampered, string(d), fmt.Errorf("%d bytes of digest %s", n, have))
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("copy blob: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(dir)
}

// stageAttempt makes the attempt's folder: the order and what of the site's
// trust it needs, readable by the account alone, and out/. The folder belongs to the account, which writes the start
// mark and the spool into it.
func (a *Agent) stageAttempt(r record, o broker.WorkOrder, raw []byte) error {
	dir := a.attemptDir(r.Attempt)
	if have, err := readForeign(filepath.Join(dir, "order.json"), order.MaxBytes); err == nil && bytes.Equal(have, raw) {
		return nil
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return order.Refuse(order.CodeSecondStart, string(r.Attempt), errors.Join(errors.New("a folder of that attempt with another order exists"), err))
	}
	uid, gid, err := a.cfg.Accounts(r.Account)
	if err != nil {
		return order.Refuse(order.CodeWrongAccount, r.Account, err)
	}
	trust, err := a.gate.extract(o)
	if err != nil {
		return err
	}
	parent := filepath.Join(a.cfg.Dir, "attempts")
	tmp, err := os.MkdirTemp(parent, tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("stage attempt: %w", err)
	}
	files := map[string][]byte{"order.json": raw, "trust.json": trust}
	if o.Network == "job" {
		files[layout.Secret] = []byte(secret())
	}
	if err := fill(tmp, files, uid, gid); err != nil {
		return fmt.Errorf("stage attempt: %w", errors.Join(err, removeTree(tmp)))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("stage attempt: %w", errors.Join(err, removeTree(tmp)))
	}
	return syncDir(parent)
}

// fill writes everything while the folder is still the agent's and gives it
// away last, so that nobody can put a link in the way. The folder stays closed
// to everybody else: its name is the launch's, which every user of the site may
// list, and spool and start mark lie in it.
func fill(dir string, files map[string][]byte, uid, gid int) error {
	out := filepath.Join(dir, "out")
	give := []string{out, dir}
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := writeFile(path, b, 0o400); err != nil {
			return err
		}
		give = append([]string{path}, give...)
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		return fmt.Errorf("make out: %w", err)
	}
	if uid != os.Geteuid() { // only an agent that is root may, and to root nothing is closed
		for _, p := range give {
			if err := os.Lchown(p, uid, gid); err != nil {
				return fmt.Errorf("give to account: %w", err)
			}
		}
	}
	return syncDir(dir)
}

// fence makes sure that an attempt can never start: it creates the start mark
// of each rank that valico-exec would create before it runs anything. It answers
// false when one exists already, that is, when the attempt may have started.
func (a *Agent) fence(r record) (bool, error) {
	dir, all := a.attemptDir(r.Attempt), true
	for rank := range max(1, r.Limits.Nodes) {
		fenced, err := fence(layout.Mark(dir, rank))
		if err != nil {
			return false, err
		}
		all = all && fenced
	}
	return all, nil
}

// fence makes one start mark; false when it is there. A folder that is not there
// holds no order: there is nothing to start.
func fence(mark string) (bool, error) {
	f, err := os.OpenFile(mark, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400) //nolint:gosec // the attempt's own folder, and O_EXCL follows no link
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("fence attempt: %w", err)
	}
	_, err = f.WriteString(`{"fenced_by":"agent"}` + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, fmt.Errorf("fence attempt: %w", err)
	}
	return true, syncDir(filepath.Dir(mark))
}
