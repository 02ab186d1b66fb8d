package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
)

// Codes of a launch that failed for reasons other than the order's.
const (
	codeInternal  = "launcher_failed"
	codeTrust     = "trust_unavailable"
	codeAccount   = "account_unknown"
	codeSpool     = "spool_unavailable"
	codeIsolation = "isolation_unavailable"
	codeExec      = "exec_failed"
	codeUnpack    = "unpack_failed"
	codeCancelled = "cancelled"
	codeWalltime  = "walltime"
)

// attempt is the attempt's folder as one of its ranks uses it.
type attempt struct {
	dir  string
	rank int
}

func (a attempt) order() string { return filepath.Join(a.dir, "order.json") }
func (a attempt) trust() string { return filepath.Join(a.dir, "trust.json") }
func (a attempt) mark() string  { return layout.Mark(a.dir, a.rank) }
func (a attempt) spool() string { return layout.Spool(a.dir, a.rank) }
func (a attempt) out() string   { return filepath.Join(a.dir, "out") }
func (a attempt) root() string  { return layout.Root(a.dir, a.rank) }

// checked is a verified order with the exact bytes of its image's documents.
type checked struct {
	order.Verified

	manifest, config []byte
}

// verified reads order and trust and checks the one with the other, and both with
// the node.
func (e env) verified(ctx context.Context, a attempt) (checked, error) {
	raw, err := readOrder(a.order())
	if err != nil {
		return checked{}, order.Refuse(order.CodeMalformed, "", err)
	}
	trust, err := order.LoadTrust(a.trust())
	if err != nil {
		return checked{}, failed(codeTrust, "the site's trust file cannot be used", err)
	}
	account, err := account(ctx)
	if err != nil {
		return checked{}, failed(codeAccount, "the node does not know the name of this account", err)
	}
	killpoint("order_read")
	marked, err := exists(a.mark(), a.spool())
	if err != nil {
		return checked{}, failed(codeInternal, "the attempt's folder cannot be read", err)
	}
	at := order.At{Stage: order.StageNode, Now: e.now(), Account: account, Marked: marked}
	v, err := order.Verify(ctx, raw, trust, at)
	if err != nil {
		return checked{}, err
	}
	if err := e.checkRank(a.rank, v.Order.Limits); err != nil {
		return checked{}, err
	}
	signed, err := order.Decode(raw)
	if err != nil {
		return checked{}, err
	}
	return checked{Verified: v, manifest: signed.Evidence.Manifest, config: signed.Evidence.Config}, nil
}

// readOrder reads a bounded regular file and follows no link.
func readOrder(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // the attempt's own folder
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(errors.New("the order is not a regular file"), err)
	}
	return io.ReadAll(io.LimitReader(f, order.MaxBytes+1))
}

// exists reports whether any of the paths is there, whatever it is.
func exists(paths ...string) (bool, error) {
	for _, p := range paths {
		_, err := os.Lstat(p)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// account is the name of the account that this process runs as. A static
// program knows the names of /etc/passwd alone; the system's own tool knows
// those of directory services as well.
func account(ctx context.Context) (string, error) {
	uid := strconv.Itoa(os.Getuid())
	u, err := user.LookupId(uid)
	if err == nil {
		return u.Username, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "/usr/bin/getent", "passwd", uid) //nolint:gosec // a number
	c.Env = []string{}
	out, toolErr := c.Output()
	f := strings.Split(strings.TrimSpace(string(out)), ":")
	if toolErr != nil || len(f) < 3 || f[0] == "" || f[2] != uid {
		return "", fmt.Errorf("look up uid %s: %w", uid, errors.Join(err, toolErr))
	}
	return f[0], nil
}

// failed is an error of the node, not of the order.
func failed(code, message string, err error) *broker.Error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: code, Message: message, Err: err,
		Rule: "nothing runs on a node that cannot hold what the order asks", Help: "look at the detail of this error on the node", Who: "the site operator",
	}
}
