package faultproxy

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	piece = 64 << 10
	// overlap is how much of what went before is looked at again, for a request that
	// comes in two pieces.
	overlap = 1 << 10
	dialIn  = 10 * time.Second
)

// pair is one connection through the proxy.
type pair struct {
	near, far net.Conn
	losing    atomic.Bool // its next answer is thrown away
	once      sync.Once
	gone      chan struct{}
}

// reset ends both sides at once; the near one hears of it as an error.
func (c *pair) reset() {
	c.once.Do(func() {
		close(c.gone)
		if t, ok := c.near.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // it may be closed already
		}
		_ = c.near.Close() // likewise
		_ = c.far.Close()  // likewise
	})
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		near, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(ctx, near) })
	}
}

func (p *Proxy) serve(ctx context.Context, near net.Conn) {
	d := net.Dialer{Timeout: dialIn}
	far, err := d.DialContext(ctx, p.network, p.target)
	if err != nil { // the daemon is not there, and so are we
		if t, ok := near.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // closed next
		}
		_ = near.Close() // nothing was sent
		return
	}
	c := &pair{near: near, far: far, gone: make(chan struct{})}
	p.mu.Lock()
	cut := p.cut || ctx.Err() != nil
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	if cut {
		c.reset()
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(c, far, near, p.request) })
	wg.Go(func() { p.pump(c, near, far, p.answer) })
	wg.Wait()
	c.reset()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// pump forwards one direction, piece by piece, until either side ends. see
// looks at a piece after what went before it and returns what is sent on; false
// resets the connection.
func (p *Proxy) pump(c *pair, to, from net.Conn, see func(c *pair, before, now []byte) bool) {
	buf, held := make([]byte, overlap+piece), 0
	for {
		n, err := from.Read(buf[held : held+piece])
		if n > 0 {
			now := buf[held : held+n]
			if !p.pass(c) || !see(c, buf[:held], now) {
				c.reset()
				return
			}
			if _, err := to.Write(now); err != nil {
				c.reset()
				return
			}
			p.mu.Lock()
			p.passed += int64(n)
			p.mu.Unlock()
			held = copy(buf, buf[max(0, held+n-overlap):held+n])
		}
		if err != nil {
			if t, ok := to.(interface{ CloseWrite() error }); ok {
				_ = t.CloseWrite() // the other direction may go on
			}
			return
		}
	}
}

// pass waits as the link demands; false when the connection is reset instead.
func (p *Proxy) pass(c *pair) bool {
	wait, reset, thaw := p.fate()
	if reset {
		return false
	}
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.gone:
			return false
		}
	}
	if thaw != nil {
		select {
		case <-thaw:
		case <-c.gone:
			return false
		}
	}
	return true
}

// request changes its words and marks a connection whose next answer gets lost.
func (p *Proxy) request(c *pair, before, now []byte) bool {
	p.mu.Lock()
	change(now, p.asked)
	p.mu.Unlock()
	if p.disarm(append(bytes.Clone(before), now...)) {
		c.losing.Store(true)
	}
	return true
}

// answer loses one or changes its words.
func (p *Proxy) answer(c *pair, _, now []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.losing.Load() {
		p.lost++
		return false
	}
	change(now, p.words)
	return true
}
