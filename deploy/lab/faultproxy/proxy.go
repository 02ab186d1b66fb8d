package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Link is how bad the link is.
type Link struct {
	// Delay holds every piece back in each direction, Jitter up to that much more.
	Delay, Jitter time.Duration
	// Reset is the chance of each piece to reset its connection instead of
	// passing: a loss that does not heal.
	Reset float64
	// Stall is the chance of each piece to wait StallFor first: a loss that TCP
	// heals by sending again.
	Stall    float64
	StallFor time.Duration
}

// Proxy forwards connections to one daemon. It is safe for concurrent use.
type Proxy struct {
	ln      net.Listener
	network string
	target  string
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	rng    *rand.Rand
	link   Link
	cut    bool
	thaw   chan struct{} // nil unless frozen
	pairs  map[*pair]struct{}
	armed  [][]byte // requests whose answers get lost
	lost   int
	words  []word // of answers
	asked  []word // of requests
	passed int64
}

type word struct{ old, now []byte }

// Listen starts a proxy on a free port of loopback for a daemon that listens at
// target, such as "127.0.0.1:4646" on network "tcp".
func Listen(ctx context.Context, network, target string, seed uint64) (*Proxy, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	return Serve(ctx, ln, network, target, seed), nil
}

// Serve starts a proxy on a listener that is there, such as a socket in a place
// where a program looks for its daemon's; Close closes it.
func Serve(ctx context.Context, ln net.Listener, network, target string, seed uint64) *Proxy {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // Close ends it
	p := &Proxy{
		ln: ln, network: network, target: target, stop: cancel,
		rng: rand.New(rand.NewPCG(seed, seed)), pairs: map[*pair]struct{}{}, //nolint:gosec // faults, not secrets
	}
	p.wg.Go(func() { p.accept(ctx) })
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close ends the proxy and every connection through it.
func (p *Proxy) Close() error {
	p.stop()
	err := p.ln.Close()
	p.Thaw()
	p.Reset()
	p.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("faultproxy: %w", err)
	}
	return nil
}

// Set makes the link as bad as told; the zero Link is a good one.
func (p *Proxy) Set(l Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = l
}

// Cut resets every connection and each new one, as when a daemon's machine is
// gone; Heal ends that.
func (p *Proxy) Cut() {
	p.mu.Lock()
	p.cut = true
	p.mu.Unlock()
	p.Reset()
}

// Heal ends Cut.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// Freeze lets no byte pass, on connections that stay open, as when a cable is
// pulled; Thaw ends that and loses nothing.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thaw == nil {
		p.thaw = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thaw != nil {
		close(p.thaw)
		p.thaw = nil
	}
}

// Reset resets every connection that is open.
func (p *Proxy) Reset() {
	p.mu.Lock()
	all := make([]*pair, 0, len(p.pairs))
	for c := range p.pairs {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		c.reset()
	}
}

// LoseAnswer loses the answer to the next request that holds these bytes.
func (p *Proxy) LoseAnswer(request string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = append(p.armed, []byte(request))
}

// Lost is how many answers were lost.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Passed is how many bytes went through, both ways.
func (p *Proxy) Passed() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed
}

// Say puts a word for another of the same length into every answer from now on.
// It panics when the lengths differ: the length of an answer is said before it.
func (p *Proxy) Say(old, now string) {
	w := sameLength(old, now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words = append(p.words, w)
}

// Ask does to requests what Say does to answers, such as to ask for no answer
// that is compressed, whose words could not be changed.
func (p *Proxy) Ask(old, now string) {
	w := sameLength(old, now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, w)
}

// Unsay ends Say and Ask.
func (p *Proxy) Unsay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words, p.asked = nil, nil
}

func sameLength(old, now string) word {
	if len(old) != len(now) || old == "" {
		panic("faultproxy: words of different length")
	}
	return word{[]byte(old), []byte(now)}
}

func change(b []byte, words []word) {
	for _, w := range words {
		for at := 0; ; {
			i := bytes.Index(b[at:], w.old)
			if i < 0 {
				break
			}
			at += i + copy(b[at+i:], w.now)
		}
	}
}

// fate is what becomes of one piece.
func (p *Proxy) fate() (wait time.Duration, reset bool, thaw <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait = p.link.Delay
	if p.link.Jitter > 0 {
		wait += time.Duration(p.rng.Int64N(int64(p.link.Jitter)))
	}
	if p.link.Stall > 0 && p.rng.Float64() < p.link.Stall {
		wait += p.link.StallFor
	}
	reset = p.cut || p.link.Reset > 0 && p.rng.Float64() < p.link.Reset
	return wait, reset, p.thaw
}

// disarm reports whether a request is one whose answer gets lost.
func (p *Proxy) disarm(request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, want := range p.armed {
		if bytes.Contains(request, want) {
			p.armed = append(p.armed[:i:i], p.armed[i+1:]...)
			return true
		}
	}
	return false
}
