package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const elements = 1 << 14

// ring is one rank and its two neighbours.
type ring struct {
	rank, size  int
	secret      []byte
	left, right net.Conn
}

// allreduce sums one vector of each rank: rank r has r+1+i at place i, so that
// the sum at i is known.
func allreduce() error {
	r := ring{secret: []byte(os.Getenv("VALICO_JOB_SECRET"))}
	var err error
	if r.rank, err = strconv.Atoi(os.Getenv("RANK")); err != nil {
		return err
	}
	if r.size, err = strconv.Atoi(os.Getenv("WORLD_SIZE")); err != nil {
		return err
	}
	if err := r.meet(net.JoinHostPort(os.Getenv("MASTER_ADDR"), os.Getenv("MASTER_PORT"))); err != nil {
		return fmt.Errorf("rank %d: rendezvous: %w", r.rank, err)
	}
	v := make([]uint64, elements)
	for i := range v {
		v[i] = uint64(r.rank + 1 + i)
	}
	if err := r.reduce(v); err != nil {
		return fmt.Errorf("rank %d: reduce: %w", r.rank, err)
	}
	n := uint64(r.size)
	for i, x := range v {
		if want := n*(n+1)/2 + n*uint64(i); x != want {
			return fmt.Errorf("rank %d: element %d is %d, not %d", r.rank, i, x, want)
		}
	}
	<-time.After(2 * time.Second) // accounting knows whole seconds
	return os.WriteFile(filepath.Join(os.Getenv("VALICO_OUT"), "rank-"+strconv.Itoa(r.rank)+".json"), []byte(strconv.FormatUint(v[1], 10)), 0o600)
}

// prove and check know each other by the secret that only the job's ranks have.
func (r *ring) prove(c net.Conn, secret []byte) error {
	var nonce [32]byte
	if _, err := io.ReadFull(c, nonce[:]); err != nil {
		return err
	}
	m := hmac.New(sha256.New, secret)
	m.Write(nonce[:])
	if _, err := c.Write(m.Sum(nil)); err != nil {
		return err
	}
	var ok [1]byte
	if _, err := io.ReadFull(c, ok[:]); err != nil || ok[0] != 1 {
		return errors.Join(errors.New("refused"), err)
	}
	return nil
}

func (r *ring) check(c net.Conn) bool {
	var nonce, got [32]byte
	_, _ = rand.Read(nonce[:])
	if _, err := c.Write(nonce[:]); err != nil {
		return false
	}
	if _, err := io.ReadFull(c, got[:]); err != nil {
		return false
	}
	m := hmac.New(sha256.New, r.secret)
	m.Write(nonce[:])
	if !hmac.Equal(got[:], m.Sum(nil)) {
		return false
	}
	_, err := c.Write([]byte{1})
	return err == nil
}

type member struct {
	Rank int
	Port int
	Addr string
}

// meet gives every rank the addresses of all, by way of rank 0, and connects the
// ring.
func (r *ring) meet(master string) error {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	defer l.Close()
	_, text, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	var all []member
	failed := make(chan error, 1)
	if r.rank == 0 {
		ml, err := net.Listen("tcp", ":"+os.Getenv("MASTER_PORT"))
		if err != nil {
			return err
		}
		defer ml.Close()
		go func() { failed <- r.gather(ml) }()
	} else {
		failed <- nil
		stranger, err := dial(master) // who does not have the secret is no rank
		if err != nil {
			return err
		}
		if r.prove(stranger, []byte("guessed")) == nil {
			return errors.New("a stranger joined the job")
		}
		stranger.Close()
	}
	c, err := dial(master)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := r.prove(c, r.secret); err != nil {
		return err
	}
	if err := json.NewEncoder(c).Encode(member{Rank: r.rank, Port: port}); err != nil {
		return err
	}
	if err := json.NewDecoder(c).Decode(&all); err != nil {
		return err
	}
	if err := <-failed; err != nil {
		return err
	}
	return r.connect(l, all)
}

// gather is rank 0's part of the rendezvous.
func (r *ring) gather(l net.Listener) error {
	all, conns := make([]member, r.size), map[int]net.Conn{}
	for len(conns) < r.size {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if !r.check(c) {
			c.Close()
			continue
		}
		var m member
		if err := json.NewDecoder(c).Decode(&m); err != nil {
			return err
		}
		m.Addr, _, _ = net.SplitHostPort(c.RemoteAddr().String())
		if m.Rank < 0 || m.Rank >= r.size || conns[m.Rank] != nil {
			return fmt.Errorf("rank %d came twice or is none", m.Rank)
		}
		all[m.Rank], conns[m.Rank] = m, c
	}
	for _, c := range conns {
		if err := json.NewEncoder(c).Encode(all); err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

func (r *ring) connect(l net.Listener, all []member) error {
	next := all[(r.rank+1)%r.size]
	var wg sync.WaitGroup
	var acceptErr error
	wg.Add(1)
	go func() {
		defer wg.Done()
		for r.left == nil && acceptErr == nil {
			c, err := l.Accept()
			if acceptErr = err; err == nil && r.check(c) {
				r.left = c
			}
		}
	}()
	c, err := dial(net.JoinHostPort(next.Addr, strconv.Itoa(next.Port)))
	if err == nil {
		err = r.prove(c, r.secret)
	}
	wg.Wait()
	r.right = c
	return errors.Join(err, acceptErr)
}

func dial(addr string) (net.Conn, error) {
	end := time.Now().Add(time.Minute)
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			return c, nil
		}
		if time.Now().After(end) {
			return nil, err
		}
		<-time.After(50 * time.Millisecond)
	}
}

// reduce is the ring: the sums of each part wander once around, then the parts.
func (r *ring) reduce(v []uint64) error {
	part := func(k int) []uint64 {
		k = ((k % r.size) + r.size) % r.size
		return v[len(v)*k/r.size : len(v)*(k+1)/r.size]
	}
	for step := range r.size - 1 {
		in, err := r.swap(part(r.rank-step), len(part(r.rank-step-1)))
		if err != nil {
			return err
		}
		for i, x := range in {
			part(r.rank - step - 1)[i] += x
		}
	}
	for step := range r.size - 1 {
		in, err := r.swap(part(r.rank+1-step), len(part(r.rank-step)))
		if err != nil {
			return err
		}
		copy(part(r.rank-step), in)
	}
	return nil
}

// swap sends to the right while it receives from the left.
func (r *ring) swap(out []uint64, n int) ([]uint64, error) {
	in, sent := make([]uint64, n), make(chan error, 1)
	go func() { sent <- binary.Write(r.right, binary.LittleEndian, out) }()
	err := binary.Read(r.left, binary.LittleEndian, in)
	return in, errors.Join(err, <-sent)
}
