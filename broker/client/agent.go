package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// SiteAgent shows the agent of a remote site, what it pins, and its alerts.
func (c *Client) SiteAgent(ctx context.Context, name string) (wire.SiteAgent, error) {
	var out wire.SiteAgent
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/sites/" + url.PathEscape(name) + "/agent", again: true}, &out)
	return out, err
}

// EnrolAgent lets another agent speak for a remote site.
func (c *Client) EnrolAgent(ctx context.Context, name string, k wire.AgentKeys) (wire.SiteAgent, error) {
	var out wire.SiteAgent
	err := c.do(ctx, call{method: http.MethodPut, path: "/v1/sites/" + url.PathEscape(name) + "/agent", in: k, again: true}, &out)
	return out, err
}
