package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bars draws progress on stderr where that is a terminal, and nothing elsewhere.
type bars struct{ p *mpb.Progress }

func (e *env) newBars() *bars {
	if !e.TTY {
		return &bars{}
	}
	return &bars{p: mpb.New(mpb.WithOutput(e.Stderr), mpb.WithWidth(40))}
}

// bar is one piece of work; its zero value draws nothing.
type bar struct{ b *mpb.Bar }

// add begins a piece of work; its size is 0 where it is not known.
func (b *bars) add(name string, sizeBytes int64) bar {
	if b.p == nil {
		return bar{}
	}
	count := decor.CountersKibiByte("% .1f / % .1f")
	if sizeBytes == 0 {
		count = decor.CurrentKibiByte("% .1f")
	}
	return bar{b: b.p.AddBar(sizeBytes, mpb.PrependDecorators(decor.Name(clean(name), decor.WCSyncSpaceR)), mpb.AppendDecorators(count))}
}

// moved tells of bytes that are done.
func (b bar) moved(n int) {
	if b.b != nil {
		b.b.IncrBy(n)
	}
}

// done ends the piece of work, whatever was moved.
func (b bar) done() {
	if b.b != nil {
		b.b.SetTotal(-1, true)
	}
}

// wait returns when all bars are drawn. It may be called twice.
func (b *bars) wait() {
	if b.p != nil {
		b.p.Wait()
		b.p = nil
	}
}

// through counts what is read.
func (b bar) through(r io.Reader) io.Reader { return &barReader{r: r, b: b} }

type barReader struct {
	r io.Reader
	b bar
}

func (r *barReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.b.moved(n)
	return n, err
}
