package link

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// maxManifest bounds a sealed manifest, in bytes: the agent seals 100 000 files
// of an attempt at most.
const maxManifest = 128 << 20

// Start hands a signed order over.
func (s *Site) Start(ctx context.Context, o broker.SignedOrder) error {
	in, err := order.Encode(o)
	if err != nil {
		return order.Refuse(order.CodeMalformed, "", err)
	}
	_, err = s.ask(ctx, MethodStart, in)
	return err
}

// Stop ends an attempt's work.
func (s *Site) Stop(ctx context.Context, id broker.AttemptID) error {
	in, err := body(stopBody{Attempt: string(id)})
	if err != nil {
		return err
	}
	_, err = s.ask(ctx, MethodStop, in)
	return err
}

// Release hands a reviewer's statement over.
func (s *Site) Release(ctx context.Context, id broker.AttemptID, envelope []byte) error {
	in, err := body(releaseBody{Attempt: string(id), Envelope: envelope})
	if err != nil {
		return err
	}
	_, err = s.ask(ctx, MethodRelease, in)
	return err
}

// Reports says how attempts stand. One whose manifest cannot be had stays as
// sealing until it can; the others are reported on all the same.
func (s *Site) Reports(ctx context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	out := make([]broker.AttemptReport, 0, len(ids))
	for part := range slices.Chunk(ids, maxIDs) {
		rs, err := s.someReports(ctx, part)
		if err != nil {
			return nil, err
		}
		out = append(out, rs...)
	}
	return out, nil
}

func (s *Site) someReports(ctx context.Context, ids []broker.AttemptID) ([]broker.AttemptReport, error) {
	in, err := body(reportsBody{Attempts: idTexts(ids)})
	if err != nil {
		return nil, err
	}
	got, err := s.ask(ctx, MethodReports, in)
	if err != nil {
		return nil, err
	}
	a, err := readStrict[reportsAnswer](got.body)
	if err != nil {
		return nil, s.notUnderstood(MethodReports, err)
	}
	asked := make(map[broker.AttemptID]bool, len(ids))
	for _, id := range ids {
		asked[id] = true
	}
	out := make([]broker.AttemptReport, len(a.Reports))
	var g errgroup.Group
	g.SetLimit(8)
	for i, w := range a.Reports {
		if out[i], err = w.report(); err != nil {
			return nil, errors.Join(s.notUnderstood(MethodReports, err), g.Wait())
		}
		if !asked[out[i].Attempt] {
			return nil, errors.Join(s.notUnderstood(MethodReports, fmt.Errorf("attempt %s was not asked for, or reported on twice", out[i].Attempt)), g.Wait())
		}
		delete(asked, out[i].Attempt)
		if w.Manifest != "" {
			g.Go(func() error {
				s.attach(ctx, &out[i], w)
				return nil
			})
		}
	}
	return out, g.Wait()
}

// attach gives a report the manifest that it names.
func (s *Site) attach(ctx context.Context, r *broker.AttemptReport, w wireReport) {
	b, err := w.Inline, error(nil)
	if len(b) == 0 {
		b, err = s.manifest(ctx, r.Attempt)
	}
	var m broker.OutputManifest
	if err == nil {
		m, err = agent.DecodeManifest(b)
	}
	if err == nil && (m.Digest != w.Manifest || m.Attempt != r.Attempt) {
		err = errors.New("another manifest than the report names")
	}
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "manifest cannot be had", "site_id", s.cfg.Site, "attempt_id", r.Attempt, "error", err)
		*r = broker.AttemptReport{Attempt: r.Attempt, State: broker.AttemptSealing, StartedAt: r.StartedAt, At: r.At}
		return
	}
	r.Outputs = &m
}

// manifest fetches a sealed manifest part by part.
func (s *Site) manifest(ctx context.Context, id broker.AttemptID) ([]byte, error) {
	var b []byte
	for {
		in, err := body(manifestBody{Attempt: string(id), Offset: int64(len(b))})
		if err != nil {
			return nil, err
		}
		c, err := s.chunk(ctx, MethodManifest, in)
		if err != nil {
			return nil, err
		}
		if b = append(b, c.Bytes...); c.Last {
			return b, nil
		}
		if len(c.Bytes) == 0 || int64(len(b)) >= c.Size || c.Size > maxManifest {
			return nil, s.notUnderstood(MethodManifest, fmt.Errorf("%d bytes of %d", len(b), c.Size))
		}
	}
}

func (s *Site) chunk(ctx context.Context, m Method, in []byte) (chunkAnswer, error) {
	got, err := s.ask(ctx, m, in)
	if err != nil {
		return chunkAnswer{}, err
	}
	c, err := readStrict[chunkAnswer](got.body)
	if err != nil || !c.Digest.Valid() || c.Size < 0 || int64(len(c.Bytes)) > c.Size {
		return chunkAnswer{}, s.notUnderstood(m, err)
	}
	return c, nil
}

// Open reads one released file, part by part. Its bytes are hashed on the way,
// and the last read fails when they are not the released ones.
func (s *Site) Open(ctx context.Context, id broker.AttemptID, path string) (io.ReadCloser, broker.OutputFile, error) {
	r := &remoteFile{ctx: ctx, s: s, id: id, path: path, h: sha256.New()}
	if err := r.more(); err != nil {
		return nil, broker.OutputFile{}, err
	}
	return r, broker.OutputFile{Path: path, SizeBytes: r.size, Digest: r.digest}, nil
}

// remoteFile is a released file at a site.
type remoteFile struct {
	ctx  context.Context //nolint:containedctx // of the call that opened it
	s    *Site
	id   broker.AttemptID
	path string

	digest broker.Digest
	size   int64
	offset int64 // of what comes after buf
	buf    []byte
	last   bool
	h      hash.Hash
}

// more fetches the next part.
func (r *remoteFile) more() error {
	in, err := body(readBody{Attempt: string(r.id), Path: r.path, Offset: r.offset})
	if err != nil {
		return err
	}
	c, err := r.s.chunk(r.ctx, MethodRead, in)
	if err != nil {
		return err
	}
	first := r.digest == ""
	if first {
		r.digest, r.size = c.Digest, c.Size
	}
	end := r.offset + int64(len(c.Bytes))
	if c.Digest != r.digest || c.Size != r.size || end > r.size || c.Last != (end == r.size) || len(c.Bytes) == 0 && !c.Last {
		return r.s.notUnderstood(MethodRead, fmt.Errorf("part at %d of %d bytes", r.offset, r.size))
	}
	r.buf, r.offset, r.last = c.Bytes, end, c.Last
	_, _ = r.h.Write(c.Bytes) // a hash never returns an error
	if r.last && broker.Digest("sha256:"+hex.EncodeToString(r.h.Sum(nil))) != r.digest {
		return errors.New("a released file is not what was released")
	}
	return nil
}

// Read reads on.
func (r *remoteFile) Read(p []byte) (int, error) {
	for len(r.buf) == 0 {
		if r.last {
			return 0, io.EOF
		}
		if err := r.more(); err != nil {
			return 0, fmt.Errorf("read a released file: %w", err)
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// Close ends the reading; the site forgets it by itself.
func (r *remoteFile) Close() error {
	r.buf, r.last = nil, true
	return nil
}
