package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// DialConfig is how an agent reaches its broker.
type DialConfig struct {
	Site broker.SiteID // required
	// URL is wss://host[:port][/path]; port 443 unless named. ws:// is taken for
	// a loopback address only.
	URL string
	// CA are the roots that the site pins for the broker; nil takes the system's.
	CA *x509.CertPool
	// Seed is the site's private nkey, as NewSeed makes it; required.
	Seed []byte
	// Dial is the way out: of Via or of a Tunnel. Nil goes straight.
	Dial DialFunc
	Log  *slog.Logger // discards
}

// NewSeed makes the key with which a site signs in to NATS, and its public part.
func NewSeed() (seed []byte, public string, err error) {
	k, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", fmt.Errorf("make the sign-in key: %w", err)
	}
	if seed, err = k.Seed(); err != nil {
		return nil, "", fmt.Errorf("make the sign-in key: %w", err)
	}
	if public, err = k.PublicKey(); err != nil {
		return nil, "", fmt.Errorf("make the sign-in key: %w", err)
	}
	return seed, public, nil
}

// PublicOf is the public part of a seed.
func PublicOf(seed []byte) (string, error) {
	k, err := nkeys.FromSeed(seed)
	if err != nil {
		return "", errors.New("link: not a seed of a sign-in key")
	}
	public, err := k.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return "", errors.New("link: not a seed of a sign-in key")
	}
	return public, nil
}

// Dial connects to the broker's NATS and comes back by itself whenever the
// connection is lost; it returns at once also while nobody answers. The caller
// owns the connection. It is the agent's only one beside those that fetch blobs.
func Dial(ctx context.Context, c DialConfig) (*nats.Conn, error) {
	if !validName(string(c.Site)) {
		return nil, errors.New("link: dial needs a site")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	u, err := checkURL(c.URL)
	if err != nil {
		return nil, err
	}
	public, err := PublicOf(c.Seed)
	if err != nil {
		return nil, err
	}
	sign := func(nonce []byte) ([]byte, error) {
		k, err := nkeys.FromSeed(c.Seed)
		if err != nil {
			return nil, err
		}
		return k.Sign(nonce)
	}
	if c.Dial == nil {
		if c.Dial, err = Via(ProxyNone, nil, nil); err != nil {
			return nil, err
		}
	}
	opts := []nats.Option{
		nats.Name(string(c.Site)), nats.Nkey(public, sign), nats.CustomInboxPrefix(telemetry.InboxPrefix(string(c.Site))),
		nats.SetCustomDialer(dialer{ctx, c.Dial}), nats.SkipHostLookup(), // behind a proxy names are the proxy's to look up
		nats.IgnoreDiscoveredServers(), // a server may not send the agent elsewhere
		nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectJitter(time.Second, time.Second),
		nats.ReconnectBufSize(-1), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(20 * time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(dialTimeout),
		nats.ReconnectErrHandler(failures(ctx, c.Log)),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: closed by its owner
				c.Log.WarnContext(ctx, "link lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { c.Log.InfoContext(ctx, "link is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.Log.WarnContext(ctx, "link", "error", err) }),
	}
	if u.Scheme == "wss" {
		opts = append(opts, nats.Secure(&tls.Config{RootCAs: c.CA, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}))
	}
	nc, err := nats.Connect(u.String(), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	return nc, nil
}

// failures says why the broker is not reached: each reason once as it appears,
// its repetitions for those who look closely.
func failures(ctx context.Context, log *slog.Logger) nats.ConnErrHandler {
	var mu sync.Mutex
	last := ""
	return func(_ *nats.Conn, err error) {
		mu.Lock()
		defer mu.Unlock()
		level := slog.LevelDebug
		if text := err.Error(); text != last {
			level, last = slog.LevelWarn, text
		}
		log.Log(ctx, level, "broker not reached", "error", err)
	}
}

func checkURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	bad := err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != ""
	if !bad {
		ip := net.ParseIP(u.Hostname())
		bad = u.Scheme != "wss" && (u.Scheme != "ws" || ip == nil || !ip.IsLoopback())
	}
	if bad {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "broker_url_invalid", Message: "the broker's address is not understood",
			Rule: "an agent reaches its broker at wss://host[:port][/path]", Help: "correct the address in the agent's configuration", Who: "the site operator",
		}
	}
	return u, nil
}

// dialer is a DialFunc in the words of the NATS client, which has no context of
// its own to give.
type dialer struct {
	ctx  context.Context //nolint:containedctx // the client dials whenever it must, as long as its owner lives
	dial DialFunc
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.dial(d.ctx, network, address)
}
