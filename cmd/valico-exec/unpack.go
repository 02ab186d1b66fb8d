package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/unpack"
)

// unpackImage makes the verified image a folder. Every byte is held to the
// digests that were signed; anything else refuses the order.
func unpackImage(ctx context.Context, images string, c checked, root string) error {
	open := func(digest string) (io.ReadCloser, error) {
		return openBlob(images, broker.Digest(digest))
	}
	_, err := unpack.Unpack(ctx, open, c.manifest, c.config, root, unpack.Limits{})
	switch {
	case err == nil:
		return nil
	case context.Cause(ctx) != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case errors.Is(err, unpack.ErrTampered), errors.Is(err, unpack.ErrMalformed), errors.Is(err, unpack.ErrRefused):
		return order.Refuse(order.CodeImageTampered, string(c.Order.Image), err)
	}
	return failed(codeUnpack, "the image cannot be unpacked here", err)
}

// openBlob opens a blob of the site's image store, which is a regular file.
func openBlob(images string, d broker.Digest) (*os.File, error) {
	path := filepath.Join(images, "blobs", "sha256", d.Hex())
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // a checked digest in the site's folder
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("blob %s is not a regular file", d), err, f.Close())
	}
	return f, nil
}
