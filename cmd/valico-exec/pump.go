package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker/spool"
)

// sink is the part of a spool that takes telemetry.
type sink interface {
	Append(spool.Record) error
	Drop(n uint64)
}

// lines turns a stream into log records, one per line, in bounded memory: what
// is longer than a line may be is counted and let go.
type lines struct {
	w    sink
	name string
	now  func() time.Time
	buf  []byte
	over int
}

// Write never fails: a workload is not stopped because its lines find no room.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		keep := min(len(line), spool.MaxLine-len(l.buf))
		l.buf, l.over = append(l.buf, line[:keep]...), l.over+len(line)-keep
		if !ended {
			return n, nil
		}
		l.flush()
		b = rest
	}
}

// flush ends the line that has begun.
func (l *lines) flush() {
	r := spool.Record{Kind: spool.KindLog, At: l.now(), Name: l.name, Text: strings.TrimSuffix(string(l.buf), "\r"), Cut: l.over}
	l.buf, l.over = l.buf[:0], 0
	if l.w.Append(r) != nil {
		l.w.Drop(1)
	}
}

// close writes a last line without an end.
func (l *lines) close() {
	if len(l.buf) > 0 || l.over > 0 {
		l.flush()
	}
}

// metric is a line on the workload's file 3.
type metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Step  int64   `json:"step"`
}

// pumpMetrics reads to the end of the pipe. A line that is no metric is
// dropped and counted.
func pumpMetrics(r io.Reader, w sink, now func() time.Time) {
	in := bufio.NewReaderSize(r, spool.MaxLine)
	for {
		line, long, err := in.ReadLine()
		for skip := long; skip && err == nil; {
			_, skip, err = in.ReadLine()
		}
		if long || len(line) > 0 && !appendMetric(line, w, now()) {
			w.Drop(1)
		}
		if err != nil {
			return
		}
	}
}

func appendMetric(line []byte, w sink, at time.Time) bool {
	var m metric
	if json.Unmarshal(line, &m, json.RejectUnknownMembers(true)) != nil || !spool.PlainName(m.Name) {
		return false
	}
	return w.Append(spool.Record{Kind: spool.KindMetric, At: at, Name: m.Name, Value: m.Value, Step: m.Step}) == nil
}

// metricsPipe is the pipe that the workload finds as file 3 and the goroutine
// that empties it.
type metricsPipe struct {
	write, read *os.File
	done        chan struct{}
}

func newMetricsPipe(w sink, now func() time.Time) (*metricsPipe, error) {
	r, wr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &metricsPipe{write: wr, read: r, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		pumpMetrics(r, w, now)
	}()
	return p, nil
}

// close waits until the pipe is empty, but not for a process that isolation
// none could not end.
func (p *metricsPipe) close() {
	_ = p.write.Close()
	_ = p.read.SetReadDeadline(time.Now().Add(5 * time.Second))
	<-p.done
	_ = p.read.Close()
}
