package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/images/unpack"
)

// unpackImage makes the verified image a folder. Every byte is held to the
// digests that were signed; anything else refuses the order.
func unpackImage(ctx context.Context, images string, c checked, root string) error {
	_, err := unpack.Unpack(ctx, unpack.Blobs{Dir: images}.Open, c.manifest, c.config, root, unpack.Limits{})
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
