package app

import (
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/valico-hpc/valico/adapters/ticket"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/remote"
)

// pulled reads an order's blobs from the broker's registry. It satisfies
// agent.Blobs.
type pulled struct {
	site   broker.SiteID
	url    string
	key    crypto.Signer
	client *http.Client
	now    func() time.Time
}

// OpenBlob opens a blob of an order's image, with a ticket made for that order.
// What the registry refuses stays refused; everything else may pass.
func (p pulled) OpenBlob(ctx context.Context, o broker.WorkOrder, d broker.Digest) (io.ReadCloser, int64, error) {
	src := remote.Source{URL: p.url, Client: p.client, Bearer: func(context.Context, string) (string, error) {
		token, err := ticket.Sign(ticket.New(p.site, o, p.now()), p.key)
		return string(token), err
	}}
	r, size, err := src.Open(ctx, string(o.Attempt), string(d))
	if err == nil {
		return waiting{r}, size, nil
	}
	return nil, 0, pullError(d, err)
}

// waiting says of each fault while a blob is read that it may pass.
type waiting struct{ io.ReadCloser }

// Read reads on.
func (w waiting) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = pullError("", err)
	}
	return n, err
}

func pullError(d broker.Digest, err error) error {
	if s, ok := errors.AsType[*remote.StatusError](err); ok {
		switch s.Status {
		case http.StatusNotFound:
			e := broker.NotFound("blob", string(d))
			e.Err = err
			return e
		case http.StatusForbidden:
			return &broker.Error{
				Kind: broker.KindForbidden, Code: "image_denied", Message: "the broker does not give the order's image", Value: string(d),
				Rule: "an image is served while its order may be started", Help: "submit the job again", Who: "the submitter", Err: err,
			}
		}
	}
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "image_unavailable", Message: "the broker's images cannot be read now", Value: string(d),
		Rule: "an image is pulled by digest from the broker", Help: "it is tried again", Who: "the operators of broker and site", Err: err,
	}
}
