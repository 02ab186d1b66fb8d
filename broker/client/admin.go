package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// Permits lists the project's permits.
func (c *Client) Permits(ctx context.Context) (wire.Permits, error) {
	var out wire.Permits
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/permits", again: true}, &out)
	return out, err
}

// Permit shows a permit.
func (c *Client) Permit(ctx context.Context, id string) (wire.Permit, error) {
	var out wire.Permit
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/permits/" + url.PathEscape(id), again: true}, &out)
	return out, err
}

// ImportPermit hands over a signed permit and, if there is one, its status.
func (c *Client) ImportPermit(ctx context.Context, in wire.PermitImport) (wire.Permit, error) {
	var out wire.Permit
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/permits", in: in}, &out)
	return out, err
}

// SetPermitStatus hands over a signed status statement.
func (c *Client) SetPermitStatus(ctx context.Context, id, jws string) (wire.Permit, error) {
	var out wire.Permit
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/permits/" + url.PathEscape(id) + "/status", in: wire.PermitStatus{JWS: jws}}, &out)
	return out, err
}

// Sites lists the admitted sites.
func (c *Client) Sites(ctx context.Context) (wire.Sites, error) {
	var out wire.Sites
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/sites", again: true}, &out)
	return out, err
}

// AddSite admits a site.
func (c *Client) AddSite(ctx context.Context, in wire.SiteAdd) (wire.Site, error) {
	var out wire.Site
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/sites", in: in}, &out)
	return out, err
}

// CheckSite says what Valico can do at a site.
func (c *Client) CheckSite(ctx context.Context, name string) (wire.SiteCheck, error) {
	var out wire.SiteCheck
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/sites/" + url.PathEscape(name) + "/check", again: true}, &out)
	return out, err
}

// Persons lists the tenant's persons.
func (c *Client) Persons(ctx context.Context) (wire.Persons, error) {
	var out wire.Persons
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/persons", again: true}, &out)
	return out, err
}

// AddPerson makes a natural person known.
func (c *Client) AddPerson(ctx context.Context, p wire.Person) (wire.Person, error) {
	var out wire.Person
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/persons", in: p}, &out)
	return out, err
}

// WhoAmI says whom the token belongs to.
func (c *Client) WhoAmI(ctx context.Context) (wire.Person, error) {
	var out wire.Person
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/whoami", again: true}, &out)
	return out, err
}

// NewToken gives a person a token; its secret is in the answer and nowhere else.
func (c *Client) NewToken(ctx context.Context, in wire.TokenRequest) (wire.Token, error) {
	var out wire.Token
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/tokens", in: in}, &out)
	return out, err
}

// Tokens lists a person's tokens.
func (c *Client) Tokens(ctx context.Context, person string) (wire.Tokens, error) {
	var out wire.Tokens
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/persons/" + url.PathEscape(person) + "/tokens", again: true}, &out)
	return out, err
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/tokens/" + url.PathEscape(id)}, nil)
}

// Checkpoint is the ledger's newest signed checkpoint.
func (c *Client) Checkpoint(ctx context.Context) (wire.Checkpoint, error) {
	var out wire.Checkpoint
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/ledger/checkpoint", again: true}, &out)
	return out, err
}

// Leaves reads leaves of the ledger from an index on.
func (c *Client) Leaves(ctx context.Context, from int64, limit int) (wire.Leaves, error) {
	var out wire.Leaves
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/ledger/leaves", query: span(from, limit), again: true}, &out)
	return out, err
}

// Records reads the tenant's records from an index on.
func (c *Client) Records(ctx context.Context, from int64, limit int) (wire.Records, error) {
	var out wire.Records
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/ledger/records", query: span(from, limit), again: true}, &out)
	return out, err
}

// Version says what the broker is.
func (c *Client) Version(ctx context.Context) (wire.Version, error) {
	var out wire.Version
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/version", again: true}, &out)
	return out, err
}

func span(from int64, limit int) url.Values {
	return url.Values{"from": {strconv.FormatInt(from, 10)}, "limit": {strconv.Itoa(limit)}}
}
