package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// attackSite is a copy of a site's folder, for an attacker to change: trust,
// images and one attempt's order, without the attempt's past.
type attackSite struct {
	dir     string
	attempt string
}

func (s *story) copySite(name string) (attackSite, error) {
	a := attackSite{dir: filepath.Join(s.attackDir(), "attack-"+name)}
	a.attempt = filepath.Join(a.dir, "attempts", s.attempt)
	if err := os.MkdirAll(a.attempt, 0o700); err != nil {
		return a, err
	}
	for from, to := range map[string]string{
		filepath.Join(s.siteDir, "attempts", s.attempt, "trust.json"): filepath.Join(a.attempt, "trust.json"),
		filepath.Join(s.siteDir, "attempts", s.attempt, "order.json"): filepath.Join(a.attempt, "order.json"),
	} {
		b, err := os.ReadFile(from) //nolint:gosec // the story's own site
		if err != nil {
			return a, err
		}
		if err := os.WriteFile(to, b, 0o600); err != nil { //nolint:gosec // the attacker's copy
			return a, err
		}
	}
	return a, os.CopyFS(filepath.Join(a.dir, "images"), os.DirFS(filepath.Join(s.siteDir, "images")))
}

// attackDir is a folder that the node sees.
func (s *story) attackDir() string {
	if s.o.Cluster != nil {
		return s.o.Cluster.shared()
	}
	return s.world.Dir
}

// tamperImage flips one bit in the middle of the largest blob: the layer.
func tamperImage(a attackSite) error {
	var largest string
	var size int64
	err := filepath.WalkDir(filepath.Join(a.dir, "images", "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	b, err := os.ReadFile(largest) //nolint:gosec // the attacker's copy
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	if err := os.Remove(largest); err != nil { // it is read-only
		return err
	}
	return os.WriteFile(largest, b, 0o600) //nolint:gosec // the attacker's copy
}

// otherSite makes the copy a site of another id, with the same keys pinned.
func otherSite(a attackSite) error {
	path := filepath.Join(a.attempt, "trust.json")
	t, err := order.LoadTrust(path)
	if err != nil {
		return err
	}
	t.Site = broker.NewID[broker.SiteID]("site")
	b, err := order.EncodeTrust(t)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// attacks tries what must be refused, and reads by which code it was.
func (s *story) attacks(ctx context.Context) error {
	s.sh.title("4  Attacks, each refused with its own code")
	for _, a := range []struct {
		code, words string
		try         func(context.Context) (string, error)
	}{
		{"image_tampered", "one bit of the image is flipped at the site", func(ctx context.Context) (string, error) {
			return s.onCopy(ctx, "image", tamperImage)
		}},
		{"permit_expired", "a job under a permit whose access period is over", s.expiredPermit},
		{"wrong_site", "the order is carried to another site", func(ctx context.Context) (string, error) {
			return s.onCopy(ctx, "site", otherSite)
		}},
		{"second_start", "the same attempt is started a second time", func(ctx context.Context) (string, error) {
			return s.launch(ctx, s.siteDir, filepath.Join(s.siteDir, "attempts", s.attempt))
		}},
	} {
		code, err := a.try(ctx)
		if err != nil {
			return fmt.Errorf("attack, %s: %w", a.words, err)
		}
		if code != a.code {
			return fmt.Errorf("attack, %s: refused with %q where the story has %q", a.words, code, a.code)
		}
		s.sh.say("  ✓ %-16s %s", code, a.words)
		s.report.Refused = append(s.report.Refused, code)
	}
	return nil
}

func (s *story) onCopy(ctx context.Context, name string, change func(attackSite) error) (string, error) {
	a, err := s.copySite(name)
	if err != nil {
		return "", err
	}
	if err := change(a); err != nil {
		return "", err
	}
	if s.o.Cluster != nil {
		if err := s.o.Cluster.give(a.dir); err != nil {
			return "", err
		}
	}
	return s.launch(ctx, a.dir, a.attempt)
}

// launch runs valico-exec as a scheduler would and returns the code with which
// it refused.
func (s *story) launch(ctx context.Context, site, attempt string) (string, error) {
	args := []string{"run", "--site", site, "--attempt", attempt}
	c := exec.CommandContext(ctx, s.o.Exec, args...) //nolint:gosec // our own launcher
	if s.o.Cluster != nil {
		c = s.o.Cluster.launch(ctx, args)
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	err := c.Run()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended {
		return "", fmt.Errorf("valico-exec was not refused: %w", err)
	}
	var said struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(stderr.Bytes()), &said); err != nil {
		return "", fmt.Errorf("valico-exec, exit status %d, said %q: %w", exit.ExitCode(), stderr.String(), err)
	}
	return said.Code, nil
}

// expiredPermit imports a permit of two years ago and plans a job under it.
func (s *story) expiredPermit(ctx context.Context) (string, error) {
	past := s.now().AddDate(-2, 0, 0)
	doc := Permit(past, s.world.Site.Name)
	if err := s.world.Import(ctx, doc, s.now()); err != nil {
		return "", err
	}
	j := s.job()
	j.Permit = doc.ID
	var p plan
	if err := s.plan(ctx, "expired.yaml", j, exitNotAdmitted, &p); err != nil {
		return "", err
	}
	for _, r := range p.Sites[0].Reasons {
		if r.Code == "permit_expired" {
			return r.Code, nil
		}
	}
	return fmt.Sprint(p.Sites[0].Reasons), nil
}
