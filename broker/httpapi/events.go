package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

const (
	eventPage = 500
	// pollEvents bounds how late an event is when a wake-up was lost, and how
	// late a stream notices that its job has ended.
	pollEvents = 2 * time.Second
	// Events reach the record after the change that they tell of. A stream of a
	// job that has ended waits for the event that says so and then until nothing
	// came for settleQuiet, but never longer than settleMost.
	settleQuiet = 200 * time.Millisecond
	settleMost  = 3 * time.Second
)

func (s *Server) events() {
	example := wire.Events{Events: []wire.Event{{Cursor: 7, Kind: broker.EventMetric, Name: "loss", Value: 0.31, Step: 3, At: exampleTime()}}, Next: 7}
	s.raw(op{
		method: http.MethodGet, path: "/v1/jobs/{id}/events", id: "follow-events",
		summary: "Follow a job's events as a stream (SSE), or read a page of them with follow=false", rule: signedIn, example: example,
	}, func(h *huma.Operation) {
		h.Parameters = []*huma.Param{
			pathParam("id", "The job's id.", "job_0123456789abcdefghjkmnpqrs"),
			queryParam("follow", "false gives one page as JSON.", "boolean"),
			queryParam("after", "Cursor to begin after.", "integer"),
			{Name: "Last-Event-ID", In: "header", Description: "Cursor to resume after; goes before after.", Schema: &huma.Schema{Type: "integer"}},
		}
		h.Responses["200"] = &huma.Response{
			Description: "Each event's id is its cursor. The event done, the last, says that the job has ended.",
			Content: map[string]*huma.MediaType{
				"text/event-stream": {Schema: &huma.Schema{Type: "string"}, Example: "id: 7\nevent: metric\ndata: {\"cursor\":7,…}\n\n"},
				"application/json": {
					Schema: s.api.OpenAPI().Components.Schemas.Schema(typeOf[wire.Events](), true, "Events"), Example: example,
				},
			},
		}
	}, s.followEvents)
}

func (s *Server) followEvents(w http.ResponseWriter, r *http.Request) error {
	job, err := s.job(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	after, err := cursor(r)
	if err != nil {
		return err
	}
	switch r.URL.Query().Get("follow") {
	case "", "true":
		s.stream(w, r, job, after)
		return nil
	case "false":
		return s.eventPage(w, r, job, after)
	}
	return badParam("follow", "is true or false", r.URL.Query().Get("follow"))
}

func cursor(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, badParam("after", "is the cursor of an event", text)
	}
	return n, nil
}

func (s *Server) eventPage(w http.ResponseWriter, r *http.Request, job broker.Job, after int64) error {
	evs, err := s.d.Store.Events(r.Context(), job.Tenant, job.ID, after, eventPage)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	page := wire.Events{Events: []wire.Event{}, Next: after, Done: job.State.Terminal() && len(evs) < eventPage}
	for _, e := range evs {
		page.Events = append(page.Events, wire.NewEvent(e))
		page.Next = e.Cursor
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(page) // the caller went away
	return nil
}

// stream sends events until the job has ended and its last event was sent, or
// until the caller goes. It reads the record from its own cursor, so a slow
// caller misses nothing.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, job broker.Job, after int64) {
	wake, cancel := s.d.Hub.Subscribe(job.Tenant, job.ID)
	defer cancel()
	st := &sse{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	st.comment("valico")
	heartbeat, poll := time.NewTicker(s.d.Heartbeat), time.NewTicker(pollEvents)
	defer heartbeat.Stop()
	defer poll.Stop()
	var since time.Time // when the job was first seen ended
	for {
		done, err := s.ended(r.Context(), job)
		before := after
		if err == nil {
			after, err = s.drain(r.Context(), st, job, after)
		}
		if err != nil || st.err != nil {
			return // the caller resumes after its last id
		}
		var settle <-chan time.Time
		if done {
			quiet := !since.IsZero() && after == before
			if since.IsZero() {
				since = time.Now()
			}
			if (quiet && st.told) || time.Since(since) > settleMost {
				st.send(after, "done", struct{}{})
				st.flush()
				return
			}
			settle = time.After(settleQuiet)
		}
		select {
		case <-r.Context().Done():
			return
		case <-settle:
		case <-wake:
		case <-poll.C:
		case <-heartbeat.C:
			st.comment("alive")
		}
	}
}

func (s *Server) ended(ctx context.Context, job broker.Job) (bool, error) {
	now, err := s.d.Store.Job(ctx, job.Project, job.ID)
	return now.State.Terminal(), err
}

// drain sends all events that there are after a cursor.
func (s *Server) drain(ctx context.Context, st *sse, job broker.Job, after int64) (int64, error) {
	for {
		evs, err := s.d.Store.Events(ctx, job.Tenant, job.ID, after, eventPage)
		if err != nil {
			return after, err
		}
		for _, e := range evs {
			st.send(e.Cursor, e.Kind, wire.NewEvent(e))
			st.told = st.told || (e.Kind == broker.EventState && e.Name == "job" && broker.JobState(e.Text).Terminal())
			after = e.Cursor
		}
		st.flush()
		if len(evs) < eventPage || st.err != nil {
			return after, st.err
		}
	}
}

// sse writes server-sent events; after the first error it writes no more.
type sse struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	told bool // the job's end was among what was sent
	err  error
}

func (s *sse) send(id int64, event string, data any) {
	b, err := json.Marshal(data)
	if err == nil {
		s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", id, event, b))
		return
	}
	s.err = err
}

func (s *sse) comment(text string) {
	s.write(": " + text + "\n\n")
	s.flush()
}

func (s *sse) write(text string) {
	if s.err != nil {
		return
	}
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamIdle)) // not every writer of a test has deadlines
	_, s.err = s.w.Write([]byte(text))                    //nolint:gosec // text/event-stream with nosniff: no browser renders it
}

func (s *sse) flush() {
	if s.err == nil {
		s.err = s.rc.Flush()
	}
}

func badParam(name, rule, value string) error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: "request_invalid", Message: "the request is not valid: " + name, Rule: name + " " + rule,
		Value: value, Help: "correct what is named; the API is described at /openapi.json",
	}
}

func pathParam(name, doc, example string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: "string"}, Example: example}
}

func queryParam(name, doc, typ string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: typ}}
}
