package slurm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// dialect is what one API version does otherwise than the others. What is not
// named here is the same in all of them, which a test holds against their own
// schemas.
type dialect struct {
	version string
	// cancelByList: the answer to DELETE job/ID is empty, whatever became of the
	// cancellation. DELETE jobs with a list of one says it.
	cancelByList bool
	// timePrefix stands before a time in a query, in seconds since 1970. The
	// older versions read the words of Slurm's commands and answer 422 to a
	// number alone.
	timePrefix string
}

// dialects are the versions that this client speaks, newest first. Slurm 24.11
// serves v0.0.40 to .42, 26.05 serves .42 to .45.
func dialects() []dialect {
	return []dialect{
		{version: "v0.0.45"},
		{version: "v0.0.44"},
		{version: "v0.0.43"},
		{version: "v0.0.42"},
		{version: "v0.0.41", cancelByList: true, timePrefix: "uts"},
		{version: "v0.0.40", cancelByList: true, timePrefix: "uts"},
	}
}

// Versions returns the API versions that this client speaks, newest first.
func Versions() []string {
	var out []string
	for _, d := range dialects() {
		out = append(out, d.version)
	}
	return out
}

// Version returns the API version in use: the configured one, or the one that
// was agreed; "" before the first request and after slurmrestd stopped to serve
// it.
func (c *Client) Version() string {
	if d := c.spoken.Load(); d != nil {
		return d.version
	}
	return ""
}

// speak returns the dialect in use, or agrees on one: the newest that both know.
func (c *Client) speak(ctx context.Context, op string) (*dialect, error) {
	if d := c.spoken.Load(); d != nil {
		return d, nil
	}
	c.agree.Lock()
	defer c.agree.Unlock()
	if d := c.spoken.Load(); d != nil {
		return d, nil
	}
	for _, d := range dialects() {
		ok, err := c.serves(ctx, op, d.version)
		if err != nil {
			return nil, err
		}
		if ok {
			c.spoken.Store(&d)
			return &d, nil
		}
	}
	e := &Error{Op: op, class: ClassVersion, unsent: true}
	c.explain(ctx, e)
	return nil, e
}

// serves asks whether slurmrestd has a version. Any answer of that version will
// do, that slurmctld is down included.
func (c *Client) serves(ctx context.Context, op, version string) (bool, error) {
	err := c.send(ctx, version, call{op: op, method: http.MethodGet, api: ctld, path: "ping", read: func(io.Reader) error { return nil }})
	e, failed := errors.AsType[*Error](err)
	if !failed {
		return true, nil
	}
	if e.class == ClassVersion {
		return false, nil
	}
	if e.Number != 0 && e.class != ClassAuth {
		return true, nil // an error in Slurm's own terms, such as that slurmctld is away
	}
	e.unsent = true // of what was asked for, nothing was sent
	return false, e
}

// forget makes the next request agree on a version again, unless that has
// happened already or a version is configured.
func (c *Client) forget(d *dialect) {
	if c.cfg.Version == "" {
		c.spoken.CompareAndSwap(d, nil)
	}
}

// explain says in an error which versions there are and which are spoken.
func (c *Client) explain(ctx context.Context, e *Error) {
	offered, err := c.Offered(ctx)
	what := strings.Join(offered, ", ")
	if err != nil {
		what, e.Err = "versions that it does not name", err
	} else if len(offered) == 0 {
		what = "no version of Slurm's API"
	}
	speaks := strings.Join(Versions(), ", ")
	if c.cfg.Version != "" {
		speaks = "only " + c.cfg.Version + ", as configured"
	}
	e.Description = fmt.Sprintf("slurmrestd offers %s; this client speaks %s", what, speaks)
}

// maxDocument bounds slurmrestd's OpenAPI document; 24.11's has 1.6 MB.
const maxDocument = 16 << 20

// Offered returns the API versions that slurmrestd serves, newest first, from
// its OpenAPI document.
func (c *Client) Offered(ctx context.Context) ([]string, error) {
	var out []string
	each := func(path string) {
		parts := strings.SplitN(path, "/", 4)
		if len(parts) == 4 && parts[0] == "" && parts[1] == ctld && strings.HasPrefix(parts[2], "v0.0.") && !slices.Contains(out, parts[2]) {
			out = append(out, clip(parts[2]))
		}
	}
	err := c.send(ctx, "", call{
		op: "list API versions", method: http.MethodGet, path: "openapi/v3", max: maxDocument,
		read: func(r io.Reader) error { return paths(r, each) },
	})
	slices.Sort(out)
	slices.Reverse(out)
	return out, err
}

// paths reads an OpenAPI document for the names of its paths.
func paths(r io.Reader, each func(string)) error {
	d := jsontext.NewDecoder(r, jsontext.AllowInvalidUTF8(true))
	return members(d, func(name string) error {
		if name != "paths" {
			return d.SkipValue() //nolint:wrapcheck // do names the operation
		}
		return members(d, func(path string) error {
			each(path)
			return d.SkipValue() //nolint:wrapcheck // do names the operation
		})
	})
}
