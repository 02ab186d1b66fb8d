package slurm

import (
	"context"
	"net/http"
	"net/url"
	"slices"
)

// named is an entry of which only the name matters.
type named struct {
	Name string `json:"name"`
}

// names reads the names of a list.
func (c *Client) names(ctx context.Context, op, api, list string) ([]string, error) {
	var out []string
	err := c.do(ctx, call{
		op: op, method: http.MethodGet, api: api, path: list, max: c.cfg.MaxList,
		read: stream(list, func(w *named) { out = append(out, w.Name) }),
	})
	slices.Sort(out)
	return out, err
}

// Partitions returns the names of the partitions that the caller may see.
func (c *Client) Partitions(ctx context.Context) ([]string, error) {
	return c.names(ctx, "list partitions", ctld, "partitions")
}

// Reservations returns the names of the reservations that the caller may see.
func (c *Client) Reservations(ctx context.Context) ([]string, error) {
	return c.names(ctx, "list reservations", ctld, "reservations")
}

// Features returns the features that any node has, which a constraint names.
func (c *Client) Features(ctx context.Context) ([]string, error) {
	var out []string
	err := c.do(ctx, call{
		op: "list nodes", method: http.MethodGet, api: ctld, path: "nodes", max: c.cfg.MaxList,
		read: stream("nodes", func(w *nodeWire) { out = append(out, w.Features...) }),
	})
	slices.Sort(out)
	return slices.Compact(out), err
}

type nodeWire struct {
	Features words `json:"features"`
}

// Association is an account that a user may charge, and what it may use there.
type Association struct {
	Account   string
	Partition string // "" is any
	QOS       []string
}

type associationWire struct {
	Account   string `json:"account"`
	User      string `json:"user"`
	Partition string `json:"partition"`
	QOS       words  `json:"qos"`
}

// Associations returns a user's associations from the accounting database.
func (c *Client) Associations(ctx context.Context, user string) ([]Association, error) {
	var out []Association
	err := c.database(ctx, call{
		op: "list associations", method: http.MethodGet, api: dbd, path: "associations", query: url.Values{"user": {user}}, max: c.cfg.MaxList,
		read: stream("associations", func(w *associationWire) {
			if w.User == user {
				out = append(out, Association{Account: w.Account, Partition: w.Partition, QOS: w.QOS})
			}
		}),
	})
	return out, err
}
