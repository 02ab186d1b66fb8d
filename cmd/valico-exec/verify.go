package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/unpack"
)

// verdict is what verify prints.
type verdict struct {
	Verified bool             `json:"verified"`
	Code     string           `json:"code,omitempty"` // of the first check that failed
	Order    broker.Digest    `json:"order,omitempty"`
	Attempt  broker.AttemptID `json:"attempt,omitempty"`
	Image    broker.Digest    `json:"image,omitempty"`
	Checked  []string         `json:"checked"` // checks that held, in their order
	Layers   []broker.Digest  `json:"layers"`  // of which the bytes at the site have this digest
}

// verify does what run does before it starts anything, and reads every layer.
// It writes nothing into the attempt's folder.
func (e env) verify(ctx context.Context, o options) error {
	var v checked
	rank, err := e.rank()
	if err == nil {
		v, err = e.verified(ctx, attempt{dir: o.attempt, rank: rank})
	}
	out := verdict{Verified: err == nil, Code: broker.CodeOf(err), Layers: []broker.Digest{}}
	for _, c := range order.Codes() {
		if c == out.Code {
			break
		}
		out.Checked = append(out.Checked, c)
	}
	if err != nil && len(out.Checked) == len(order.Codes()) {
		out.Checked = []string{} // it failed before the first check
	}
	if err == nil {
		out.Order, out.Attempt, out.Image = v.Digest, v.Order.Attempt, v.Order.Image
		out.Layers, err = checkLayers(filepath.Join(o.site, "images"), v)
		out.Verified, out.Code = err == nil, broker.CodeOf(err)
	}
	return errors.Join(e.print(out, o.output), err)
}

func (e env) print(v verdict, output string) error {
	if output == "json" {
		b, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		fmt.Fprintf(e.stdout, "%s\n", b)
		return nil
	}
	for _, c := range v.Checked {
		fmt.Fprintf(e.stdout, "ok       %s\n", c)
	}
	for _, l := range v.Layers {
		fmt.Fprintf(e.stdout, "ok       layer %s\n", l)
	}
	if v.Verified {
		fmt.Fprintf(e.stdout, "verified %s\n", v.Order)
		return nil
	}
	fmt.Fprintf(e.stdout, "REFUSED  %s\n", v.Code)
	return nil
}

// checkLayers hashes the layers at the site.
func checkLayers(images string, v checked) ([]broker.Digest, error) {
	held := []broker.Digest{}
	for _, l := range v.Manifest.Layers {
		d := broker.Digest(l.Digest)
		f, err := unpack.Blobs{Dir: images}.Open(string(d))
		if err != nil {
			return held, order.Refuse(order.CodeImageTampered, string(d), err)
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		err = errors.Join(err, f.Close())
		if have := "sha256:" + hex.EncodeToString(h.Sum(nil)); err != nil || have != string(d) || n != l.Size {
			return held, order.Refuse(order.CodeImageTampered, string(d), errors.Join(fmt.Errorf("%d bytes of digest %s", n, have), err))
		}
		held = append(held, d)
	}
	return held, nil
}
