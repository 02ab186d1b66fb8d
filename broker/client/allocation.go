package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Allocations lists the project's GPU time; that of all the tenant's projects
// for operators.
func (c *Client) Allocations(ctx context.Context) (wire.Allocations, error) {
	var out wire.Allocations
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/allocations", again: true}, &out)
	return out, err
}

// Allocation shows an allocation and what operators did with it.
func (c *Client) Allocation(ctx context.Context, id string) (wire.Allocation, error) {
	var out wire.Allocation
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/allocations/" + url.PathEscape(id), again: true}, &out)
	return out, err
}

// CreateAllocation grants a project GPU time. The key makes one grant of a
// request that is repeated.
func (c *Client) CreateAllocation(ctx context.Context, in wire.AllocationCreate, key string) (wire.Allocation, error) {
	var out wire.Allocation
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/allocations", in: in, header: http.Header{"Idempotency-Key": {key}}}, &out)
	return out, err
}

// AdjustAllocation changes terms of an allocation, if it still has that version.
func (c *Client) AdjustAllocation(ctx context.Context, id string, version int64, in wire.AllocationAdjust) (wire.Allocation, error) {
	return c.change(ctx, http.MethodPatch, "/v1/allocations/"+url.PathEscape(id), version, in)
}

// FreezeAllocation lets an allocation take no new job, if it still has that
// version.
func (c *Client) FreezeAllocation(ctx context.Context, id string, version int64, reason string) (wire.Allocation, error) {
	return c.change(ctx, http.MethodPost, "/v1/allocations/"+url.PathEscape(id)+"/freeze", version, wire.AllocationReason{Reason: reason})
}

// ThawAllocation lets an allocation take jobs again, if it still has that version.
func (c *Client) ThawAllocation(ctx context.Context, id string, version int64, reason string) (wire.Allocation, error) {
	return c.change(ctx, http.MethodPost, "/v1/allocations/"+url.PathEscape(id)+"/thaw", version, wire.AllocationReason{Reason: reason})
}

func (c *Client) change(ctx context.Context, method, path string, version int64, in any) (wire.Allocation, error) {
	var out wire.Allocation
	err := c.do(ctx, call{
		method: method, path: path, in: in, header: http.Header{"If-Match": {strconv.Quote(strconv.FormatInt(version, 10))}},
	}, &out)
	return out, err
}

// UsageQuery says what usage is asked for; zero times and no project mean what
// the API says of parameters that are left out.
type UsageQuery struct {
	By          []string // project, person, site, day
	Project     string
	From, Until time.Time
}

// Usage sums what was used.
func (c *Client) Usage(ctx context.Context, q UsageQuery) (wire.Usage, error) {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("by", strings.Join(q.By, ","))
	set("project", q.Project)
	if !q.From.IsZero() {
		set("from", q.From.UTC().Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		set("until", q.Until.UTC().Format(time.RFC3339Nano))
	}
	var out wire.Usage
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/usage", query: v, again: true}, &out)
	return out, err
}
