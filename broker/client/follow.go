package client

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	gojson "github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

const (
	// maxSilence is how long a stream may say nothing; the broker shows that it
	// lives more often.
	maxSilence = 60 * time.Second
	// maxCuts is how many times in a row a stream may fail without an event.
	maxCuts   = 12
	maxLine   = 1 << 20
	eventDone = "done"
)

// Follow calls each with the events of a job after a cursor, in order, until
// the job has ended and all were seen. A stream that is cut is resumed after
// the last event; cut, which may be nil, is told of each. Follow returns what
// each returns, if that is an error.
func (c *Client) Follow(ctx context.Context, id string, after int64, each func(wire.Event) error, cut func(error)) error {
	f := &follower{c: c, id: id, after: after, each: each}
	for tries := 1; ; tries++ {
		before := f.after
		err := f.once(ctx)
		switch {
		case f.done:
			return nil
		case f.stop != nil:
			return f.stop
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if f.after > before {
			tries = 1
		}
		if broker.KindOf(err) != broker.KindUnavailable || tries == maxCuts {
			return err
		}
		if cut != nil {
			cut(err)
		}
		if err := c.wait(ctx, tries); err != nil {
			return err
		}
	}
}

// follower is one Follow.
type follower struct {
	c     *Client
	id    string
	after int64
	each  func(wire.Event) error
	done  bool
	stop  error // what each returned
}

// once reads one stream to its end and says why it ended.
func (f *follower) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(maxSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	h := http.Header{"Accept": {"text/event-stream"}}
	q := url.Values{}
	if f.after > 0 {
		h.Set("Last-Event-ID", strconv.FormatInt(f.after, 10))
	}
	req, err := f.c.request(ctx, call{method: http.MethodGet, path: jobPath(f.id, "events"), query: q, header: h}, nil)
	if err != nil {
		return err
	}
	res, err := f.c.http.Do(req)
	if err != nil {
		return f.c.unreachable(ctx, err)
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if err := check(res); err != nil {
		return err
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var m message
	for lines.Scan() {
		silence.Reset(maxSilence)
		if !m.line(lines.Text()) {
			continue
		}
		if err := f.take(m); err != nil || f.done || f.stop != nil {
			return err
		}
		m = message{}
	}
	return streamCut(lines.Err())
}

// take handles one message. One that is not understood ends the stream: going
// on would lose an event in silence.
func (f *follower) take(m message) error {
	if m.event == eventDone {
		f.done = true
		return nil
	}
	var e wire.Event
	if err := gojson.Unmarshal([]byte(m.data), &e); err != nil {
		return streamCut(err)
	}
	if e.Cursor <= f.after {
		return nil // seen
	}
	if f.stop = f.each(e); f.stop == nil {
		f.after = e.Cursor
	}
	return nil
}

// message is a server-sent event as its lines come in.
type message struct{ event, data string }

// line takes one line and reports whether the message is whole.
func (m *message) line(text string) bool {
	name, value, _ := strings.Cut(text, ":")
	value = strings.TrimPrefix(value, " ")
	switch {
	case text == "":
		return m.data != ""
	case name == "event":
		m.event = value
	case name == "data" && m.data != "":
		m.data += "\n" + value
	case name == "data":
		m.data = value
	}
	return false
}

var errSilent = errors.New("the stream was silent for too long")

func streamCut(err error) error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "stream_cut", Message: "the stream of events was cut",
		Rule: "a stream ends with the job", Help: "follow it again; no event is lost", Who: "the broker's operator, if it stays", Err: err,
	}
}
