package slurmrest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/slurm"
)

// Tokens gives an account's token for a slurmrestd that the site runs itself.
// It is asked again when the last one is about to end.
type Tokens func(ctx context.Context, account string) (string, error)

// Bounds of tokens.
const (
	maxToken     = 8 << 10
	tokenCommand = 30 * time.Second // how long the site's command may take
	tokenSpare   = time.Minute      // a token that ends sooner is not used
)

// CommandTokens asks a command of the site: argv with the account behind it. It
// prints a token, or SLURM_JWT= and a token, as scontrol token does.
func CommandTokens(argv []string, path string) Tokens {
	return func(ctx context.Context, account string) (string, error) {
		ctx, done := context.WithTimeout(ctx, tokenCommand)
		defer done()
		args := append(append([]string{}, argv[1:]...), account)
		c := exec.CommandContext(ctx, argv[0], args...) //nolint:gosec // the operator's configuration
		c.Dir, c.Env, c.WaitDelay = "/", []string{"PATH=" + path}, time.Second
		out, err := c.Output() // its errors may quote the token: they are not shown
		if err != nil {
			return "", errors.New("the site's token command failed")
		}
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "SLURM_JWT="), nil
	}
}

// FileTokens reads tokens that persons bring: one file for each account, named
// like it, that nobody but the account, the agent and root can read or write.
// A nil find asks the operating system.
func FileTokens(dir string, find func(string) (Identity, error)) Tokens {
	if find == nil {
		find = lookup
	}
	return func(_ context.Context, account string) (string, error) {
		who, err := find(account)
		if err != nil {
			return "", err
		}
		f, err := os.OpenFile(filepath.Join(dir, filepath.Base(account)), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator's folder, and an account's name
		if err != nil {
			return "", errors.New("the person has brought no token")
		}
		defer f.Close() //nolint:errcheck // only read from
		fi, err := f.Stat()
		if err != nil {
			return "", fmt.Errorf("look at the token: %w", err)
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o077 != 0 || int(st.Uid) != who.UID && int(st.Uid) != os.Geteuid() {
			return "", errors.New("a token is a file of mode 0600 of its own account")
		}
		b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		return strings.TrimPrefix(strings.TrimSpace(string(b)), "SLURM_JWT="), nil
	}
}

// wallet keeps one account's token until it is about to end.
type wallet struct {
	account string
	ask     Tokens
	now     func() time.Time

	mu    sync.Mutex
	token string
	until time.Time
}

func (w *wallet) get(ctx context.Context) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.token != "" && w.now().Add(tokenSpare).Before(w.until) {
		return w.token, nil
	}
	token, err := w.ask(ctx, w.account)
	if err == nil {
		w.until, err = checkToken(token, w.account, w.now())
	}
	if err != nil {
		w.token = ""
		return "", fmt.Errorf("token of account %s: %w", w.account, err)
	}
	w.token = token
	return token, nil
}

// refused forgets a token that Slurm does not accept, as after the site changed
// its key: the next request asks for another.
func (w *wallet) refused(token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.token == token {
		w.token = ""
	}
}

// claims are what Slurm's auth/jwt reads of a token.
type claims struct {
	User    string `json:"sun"`
	Expires int64  `json:"exp"`
}

// checkToken holds a token to its account before it is sent: one for root, or
// for another user, would make jobs that are not the account's. Slurm verifies
// the signature. Its errors never quote the token.
func checkToken(token, account string, now time.Time) (until time.Time, err error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return until, errors.New("it is no JWT")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return until, errors.New("it is no JWT")
	}
	var c claims
	if err := json.Unmarshal(b, &c); err != nil {
		return until, errors.New("it is no JWT")
	}
	until = time.Unix(c.Expires, 0)
	switch {
	case c.User != account:
		return until, errors.New("it is another user's")
	case !now.Add(tokenSpare).Before(until):
		return until, errors.New("it has ended, or is about to")
	}
	return until, nil
}

// checkURL refuses to send tokens in clear over a network.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return errors.New("slurmrest: the address of slurmrestd is no URL")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && (ip == nil || !ip.IsLoopback()) && u.Hostname() != "localhost" {
		return errors.New("slurmrest: a token travels over https, or on this machine")
	}
	return nil
}

// foreign is the end of a slurmrestd that the site runs itself: an account's
// token stands for the account.
func foreign(ctx context.Context, cfg Config, account string, who Identity) (*daemon, error) {
	d := &daemon{cfg: cfg, who: who, done: make(chan struct{}), ready: make(chan struct{})}
	w := &wallet{account: account, ask: cfg.Tokens, now: cfg.Now}
	var err error
	d.rest, err = slurm.New(slurm.Config{BaseURL: cfg.URL, User: account, Token: w.get, Refused: w.refused, Version: cfg.APIVersion, MaxConns: 16})
	if err != nil {
		return nil, unavailable("make a client", err)
	}
	close(d.ready)
	ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx)) // it outlives the call; close ends it
	go func() {
		<-ctx.Done()
		close(d.done)
	}()
	return d, nil
}
