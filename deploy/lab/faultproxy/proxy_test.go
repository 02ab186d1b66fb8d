package faultproxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
)

// through starts an echo of lines and a proxy before it.
func through(t *testing.T) *faultproxy.Proxy {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	p, err := faultproxy.Listen(t.Context(), "tcp", ln.Addr().String(), 7)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

type line struct {
	net.Conn

	r *bufio.Reader
}

func dial(t *testing.T, p *faultproxy.Proxy) line {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return line{c, bufio.NewReader(c)}
}

func (l line) say(word string) (string, error) {
	if _, err := io.WriteString(l, word+"\n"); err != nil {
		return "", err
	}
	got, err := l.r.ReadString('\n')
	return strings.TrimSuffix(got, "\n"), err
}

func TestAGoodLinkPassesBothWays(t *testing.T) {
	t.Parallel()
	p := through(t)
	c := dial(t, p)
	for _, w := range []string{"a", strings.Repeat("b", 300_000), "c"} {
		got, err := c.say(w)
		require.NoError(t, err)
		require.Equal(t, w, got)
	}
	require.Greater(t, p.Passed(), int64(600_000))
}

func TestALostAnswerIsOneThatTheDaemonGave(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "precious" {
			served.Add(1)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(srv.Close)
	p, err := faultproxy.Listen(t.Context(), "tcp", srv.Listener.Addr().String(), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	cl := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(cl.CloseIdleConnections)
	post := func(body string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.Addr(), strings.NewReader(body))
		require.NoError(t, err)
		req.GetBody = nil
		resp, err := cl.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	p.LoseAnswer("precious")
	require.NoError(t, post("another"))
	require.Error(t, post("precious"))
	require.Equal(t, int64(1), served.Load(), "the daemon has heard it")
	require.Equal(t, 1, p.Lost())
	require.NoError(t, post("precious"), "once is once")
}

func TestAFrozenLinkLosesNothing(t *testing.T) {
	t.Parallel()
	p := through(t)
	c := dial(t, p)
	_, err := c.say("before")
	require.NoError(t, err)
	p.Freeze()
	heard := make(chan string, 1)
	go func() {
		got, _ := c.say("during")
		heard <- got
	}()
	select {
	case <-heard:
		t.Fatal("a frozen link let a byte pass")
	case <-time.After(50 * time.Millisecond):
	}
	p.Thaw()
	require.Equal(t, "during", <-heard)
}

func TestACutLinkResetsWhatIsOpenAndWhatIsNew(t *testing.T) {
	t.Parallel()
	p := through(t)
	c := dial(t, p)
	_, err := c.say("before")
	require.NoError(t, err)
	p.Cut()
	_, err = c.say("during")
	require.Error(t, err)
	d, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr())
	if err == nil {
		_, err = line{d, bufio.NewReader(d)}.say("new")
	}
	require.Error(t, err)
	p.Heal()
	got, err := dial(t, p).say("after")
	require.NoError(t, err)
	require.Equal(t, "after", got)
}

func TestDelayHoldsEveryPieceBackAndChanceResets(t *testing.T) {
	t.Parallel()
	p := through(t)
	c := dial(t, p)
	p.Set(faultproxy.Link{Delay: 20 * time.Millisecond, Jitter: time.Millisecond, Stall: 1, StallFor: 10 * time.Millisecond})
	began := time.Now()
	_, err := c.say("slow")
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 60*time.Millisecond, "there and back")
	p.Set(faultproxy.Link{Reset: 1})
	_, err = c.say("never")
	require.Error(t, err)
}

func TestWordsAreChangedWhileTheyPass(t *testing.T) {
	t.Parallel()
	p := through(t)
	c := dial(t, p)
	p.Say("running", "floated")
	got, err := c.say("is running and running")
	require.NoError(t, err)
	require.Equal(t, "is floated and floated", got)
	p.Ask("hurry", "walks")
	got, err = c.say("hurry hurry running")
	require.NoError(t, err)
	require.Equal(t, "walks walks floated", got)
	p.Unsay()
	got, err = c.say("running")
	require.NoError(t, err)
	require.Equal(t, "running", got)
	require.Panics(t, func() { p.Say("a", "bb") })
}

func TestADaemonThatIsNotThereIsNotThereThroughTheProxyEither(t *testing.T) {
	t.Parallel()
	p, err := faultproxy.Listen(t.Context(), "tcp", "127.0.0.1:1", 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr())
	if err == nil {
		_, err = line{c, bufio.NewReader(c)}.say("hello")
	}
	require.Error(t, err)
}
