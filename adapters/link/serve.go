package link

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// inlineManifest and inlineAll bound the manifests that travel with reports;
// larger ones are asked for on their own.
const (
	inlineManifest = 16 << 10
	inlineAll      = 2 << 20
)

// serve obeys a request that was admitted, and names the attempt that it was
// about, if it was about one.
func (r *Responder) serve(ctx context.Context, req Request, body []byte) (out []byte, id broker.AttemptID, err error) {
	switch req.Method {
	case MethodDescribe:
		out, err = r.describe(ctx, body)
	case MethodStart:
		id, err = r.start(ctx, body)
	case MethodStop:
		id, err = r.stop(ctx, body)
	case MethodReports:
		out, err = r.reports(ctx, body)
	case MethodManifest:
		out, id, err = r.manifest(ctx, body)
	case MethodRelease:
		id, err = r.release(ctx, body)
	case MethodRead:
		out, id, err = r.read(ctx, body)
	case MethodAlerts:
		out, err = r.alertsOut(body)
	}
	return out, id, err
}

// malformed says that a body is not understood. The broker's key signed it, so
// it is the broker's fault, and nothing happened.
func malformed(err error) error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: CodeMalformed, Message: "the site's agent does not understand the request",
		Rule: "each method has one form in each version of the link", Help: "update the older of broker and agent", Who: "the broker's operator", Err: err,
	}
}

func body(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return b, nil
}

func (r *Responder) describe(ctx context.Context, in []byte) ([]byte, error) {
	if len(in) != 0 {
		return nil, malformed(errors.New("describe has no body"))
	}
	d, err := r.cfg.Describe(ctx)
	if err != nil {
		return nil, err
	}
	return body(describeAnswer{
		MinVersion: oldest, MaxVersion: Version, Version: clean(d.Version), StartedAt: stamp(d.StartedAt), Trust: d.Trust, Packs: d.Packs,
		Scheduler: clean(d.Scheduler), SchedulerOK: d.SchedulerOK, Attempts: d.Attempts,
		DiskUsed: d.DiskUsed, DiskFree: d.DiskFree, DiskBound: d.DiskBound,
	})
}

func (r *Responder) start(ctx context.Context, in []byte) (broker.AttemptID, error) {
	o, err := order.Decode(in)
	if err != nil {
		return "", err
	}
	return o.Order.Attempt, r.cfg.Agent.Start(ctx, o)
}

func (r *Responder) stop(ctx context.Context, in []byte) (broker.AttemptID, error) {
	b, err := readStrict[stopBody](in)
	if err != nil {
		return "", malformed(err)
	}
	id, err := attemptID(b.Attempt)
	if err != nil {
		return "", malformed(err)
	}
	return id, r.cfg.Agent.Stop(ctx, id)
}

func (r *Responder) reports(ctx context.Context, in []byte) ([]byte, error) {
	b, err := readStrict[reportsBody](in)
	if err != nil || len(b.Attempts) > maxIDs {
		return nil, malformed(errors.Join(err, fmt.Errorf("%d attempts", len(b.Attempts))))
	}
	ids := make([]broker.AttemptID, 0, len(b.Attempts))
	for _, s := range b.Attempts {
		id, err := attemptID(s)
		if err != nil {
			return nil, malformed(err)
		}
		ids = append(ids, id)
	}
	rs, err := r.cfg.Agent.Reports(ctx, ids)
	if err != nil {
		return nil, err
	}
	a, room := reportsAnswer{Reports: make([]wireReport, 0, len(rs))}, inlineAll
	for _, rep := range rs {
		w := newWireReport(rep)
		if o := rep.Outputs; o != nil && len(o.Bytes) <= min(inlineManifest, room) {
			w.Inline = o.Bytes
			room -= len(o.Bytes)
		}
		a.Reports = append(a.Reports, w)
	}
	return body(a)
}

func (r *Responder) manifest(ctx context.Context, in []byte) ([]byte, broker.AttemptID, error) {
	b, err := readStrict[manifestBody](in)
	if err != nil {
		return nil, "", malformed(err)
	}
	id, err := attemptID(b.Attempt)
	if err != nil || b.Offset < 0 {
		return nil, "", malformed(errors.Join(err, fmt.Errorf("offset %d", b.Offset)))
	}
	rs, err := r.cfg.Agent.Reports(ctx, []broker.AttemptID{id})
	if err != nil {
		return nil, id, err
	}
	if len(rs) != 1 || rs[0].Outputs == nil || b.Offset > int64(len(rs[0].Outputs.Bytes)) {
		return nil, id, broker.NotFound("sealed manifest", string(id))
	}
	m := rs[0].Outputs
	rest := m.Bytes[b.Offset:]
	part := rest[:min(len(rest), maxChunk)]
	out, err := body(chunkAnswer{Digest: m.Digest, Size: int64(len(m.Bytes)), Last: len(part) == len(rest), Bytes: part})
	return out, id, err
}

func (r *Responder) release(ctx context.Context, in []byte) (broker.AttemptID, error) {
	b, err := readStrict[releaseBody](in)
	if err != nil {
		return "", malformed(err)
	}
	id, err := attemptID(b.Attempt)
	if err != nil {
		return "", malformed(err)
	}
	return id, r.cfg.Agent.Release(ctx, id, b.Envelope)
}

func (r *Responder) read(ctx context.Context, in []byte) ([]byte, broker.AttemptID, error) {
	b, err := readStrict[readBody](in)
	if err != nil {
		return nil, "", malformed(err)
	}
	id, err := attemptID(b.Attempt)
	if err != nil || b.Offset < 0 || b.Path == "" || len(b.Path) > 4096 {
		return nil, "", malformed(errors.Join(err, fmt.Errorf("offset %d of a path of %d bytes", b.Offset, len(b.Path))))
	}
	place := reading{attempt: id, path: b.Path, offset: b.Offset}
	f, of := r.open.take(place)
	if f == nil {
		if f, of, err = r.openAt(ctx, place); err != nil {
			return nil, id, err
		}
	}
	buf := make([]byte, min(int64(maxChunk), max(0, of.SizeBytes-b.Offset)))
	if _, err = io.ReadFull(f, buf); err == nil && b.Offset+int64(len(buf)) == of.SizeBytes {
		// The read that finds the end is the one that holds the bytes to their digest.
		if n, end := f.Read(make([]byte, 1)); n != 0 || !errors.Is(end, io.EOF) {
			err = errors.Join(errors.New("the file does not end where it should"), end)
		}
	}
	if err != nil {
		return nil, id, errors.Join(unreadable(err), f.Close())
	}
	last := b.Offset+int64(len(buf)) == of.SizeBytes
	if last {
		err = f.Close()
	} else {
		place.offset += int64(len(buf))
		r.open.put(place, f, of)
	}
	if err != nil {
		return nil, id, unreadable(err)
	}
	out, err := body(chunkAnswer{Digest: of.Digest, Size: of.SizeBytes, Last: last, Bytes: buf})
	return out, id, err
}

// openAt opens a released file and goes to a place in it. What is before is
// read, because the digest at the end is over all of it.
func (r *Responder) openAt(ctx context.Context, p reading) (io.ReadCloser, broker.OutputFile, error) {
	f, of, err := r.cfg.Agent.Open(ctx, p.attempt, p.path)
	if err != nil {
		return nil, of, err
	}
	if p.offset > of.SizeBytes {
		return nil, of, errors.Join(malformed(fmt.Errorf("offset %d of %d", p.offset, of.SizeBytes)), f.Close())
	}
	buf := make([]byte, 64<<10)
	for left := p.offset; left > 0; {
		if ctx.Err() != nil {
			return nil, of, errors.Join(unreadable(context.Cause(ctx)), f.Close())
		}
		n, err := f.Read(buf[:min(left, int64(len(buf)))])
		if left -= int64(n); err != nil && left > 0 {
			return nil, of, errors.Join(unreadable(err), f.Close())
		}
	}
	return f, of, nil
}

func unreadable(err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "quarantine_unavailable", Message: "the sealed outputs cannot be read",
		Help: "look at the site's quarantine", Who: "the site operator", Err: err,
	}
}

func (r *Responder) alertsOut(in []byte) ([]byte, error) {
	b, err := readStrict[alertsBody](in)
	if err != nil || len(b.Recorded) > maxIDs {
		return nil, malformed(errors.Join(err, fmt.Errorf("%d alerts", len(b.Recorded))))
	}
	if err := r.alerts.acknowledge(b.Recorded); err != nil {
		return nil, refusal{code: CodeJournal, detail: err.Error()}.notKnown()
	}
	out, _ := r.alerts.pending(maxIDs)
	if out == nil {
		out = []wireAlert{}
	}
	return body(alertsAnswer{Alerts: out})
}
