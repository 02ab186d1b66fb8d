package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Site shows a site and what an operator lets happen there.
func (c *Client) Site(ctx context.Context, name string) (wire.Site, error) {
	var out wire.Site
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/sites/" + url.PathEscape(name), again: true}, &out)
	return out, err
}

// OperateSite is an operator's act on a site, broker.ActCordon, ActDrain or
// ActResume, if its operation still has that version.
func (c *Client) OperateSite(ctx context.Context, name, act string, version int64, in wire.SiteChange) (wire.Site, error) {
	var out wire.Site
	err := c.do(ctx, call{
		method: http.MethodPost, path: "/v1/sites/" + url.PathEscape(name) + "/" + url.PathEscape(act), in: in,
		header: http.Header{"If-Match": {strconv.Quote(strconv.FormatInt(version, 10))}},
	}, &out)
	return out, err
}

// ReportSite measures a site for the page that its operator keeps.
func (c *Client) ReportSite(ctx context.Context, name string) (wire.SiteReport, error) {
	var out wire.SiteReport
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/sites/" + url.PathEscape(name) + "/report", again: true}, &out)
	return out, err
}
