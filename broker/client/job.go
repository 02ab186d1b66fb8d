package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Plan asks what would be decided now.
func (c *Client) Plan(ctx context.Context, s broker.JobSpec) (wire.Plan, error) {
	var out wire.Plan
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/plan", in: wire.NewJobSpec(s), again: true}, &out)
	return out, err
}

// Submit submits a job under an idempotency key: repeating it with the same key
// and job gives the same answer. A job that is not admitted is an error of kind
// not-admitted with its reasons.
func (c *Client) Submit(ctx context.Context, s broker.JobSpec, key string) (wire.Job, error) {
	var out wire.Job
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/v1/jobs", in: wire.NewJobSpec(s), again: true,
		header: http.Header{"Idempotency-Key": {key}},
	}, &out)
	return out, err
}

// Jobs lists the project's jobs, newest first; cursor is Next of the page before.
func (c *Client) Jobs(ctx context.Context, cursor string, limit int) (wire.Jobs, error) {
	q := url.Values{}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out wire.Jobs
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/jobs", query: q, again: true}, &out)
	return out, err
}

// Queue lists the project's jobs that wait for their turn.
func (c *Client) Queue(ctx context.Context) (wire.Queue, error) {
	var out wire.Queue
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/queue", again: true}, &out)
	return out, err
}

// Job shows a job with its attempts.
func (c *Client) Job(ctx context.Context, id string) (wire.Job, error) {
	var out wire.Job
	err := c.do(ctx, call{method: http.MethodGet, path: jobPath(id), again: true}, &out)
	return out, err
}

// Cancel asks for the end of a job. Asking twice is no error.
func (c *Client) Cancel(ctx context.Context, id string) (wire.Job, error) {
	var out wire.Job
	err := c.do(ctx, call{method: http.MethodPost, path: jobPath(id, "cancel"), again: true}, &out)
	return out, err
}

// Decisions lists a job's decisions, oldest first.
func (c *Client) Decisions(ctx context.Context, id string) (wire.Decisions, error) {
	var out wire.Decisions
	err := c.do(ctx, call{method: http.MethodGet, path: jobPath(id, "decisions"), again: true}, &out)
	return out, err
}

// Events reads one page of a job's events after a cursor.
func (c *Client) Events(ctx context.Context, id string, after int64) (wire.Events, error) {
	var out wire.Events
	q := url.Values{"follow": {"false"}, "after": {strconv.FormatInt(after, 10)}}
	err := c.do(ctx, call{method: http.MethodGet, path: jobPath(id, "events"), query: q, again: true}, &out)
	return out, err
}

// Outputs lists what a job sealed and what of it is released.
func (c *Client) Outputs(ctx context.Context, id string) (wire.Outputs, error) {
	var out wire.Outputs
	err := c.do(ctx, call{method: http.MethodGet, path: jobPath(id, "outputs"), again: true}, &out)
	return out, err
}

// Release hands over a reviewer's signed statement.
func (c *Client) Release(ctx context.Context, id string, envelope []byte) (wire.Release, error) {
	var out wire.Release
	err := c.do(ctx, call{method: http.MethodPost, path: jobPath(id, "releases"), in: wire.ReleaseRequest{Envelope: envelope}, again: true}, &out)
	return out, err
}

func jobPath(id string, more ...string) string {
	return strings.Join(append([]string{"/v1/jobs", url.PathEscape(id)}, more...), "/")
}
