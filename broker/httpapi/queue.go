package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func (s *Server) queue() {
	handle(s, op{
		method: http.MethodGet, path: "/v1/queue", id: "list-queue", summary: "List the project's jobs that wait for their turn, each with its place",
		rule: signedIn, example: wire.Queue{Places: []wire.QueuePlace{{
			Job: exampleJob().ID, Site: "local", Priority: "standard", Position: 3, Of: 12, Before: "submitted_first",
			Sentence: "The one ahead was submitted earlier.",
		}}},
	}, s.listQueue)
}

func (s *Server) listQueue(ctx context.Context, _ *struct{}) (*body[wire.Queue], error) {
	places, err := s.d.Store.Queue(ctx, caller(ctx).Project)
	if err != nil {
		return nil, fmt.Errorf("list the queue: %w", err)
	}
	names, err := s.siteNames(ctx)
	if err != nil {
		return nil, err
	}
	out := wire.Queue{Places: []wire.QueuePlace{}}
	for _, p := range places {
		out.Places = append(out.Places, wire.NewQueuePlace(p, names[p.Site]))
	}
	return &body[wire.Queue]{out}, nil
}

// turn is the place of an attempt that waits for its turn, and the attempt as
// people see it: what it waits for follows from its place. False when it does
// not wait for its turn.
func (s *Server) turn(ctx context.Context, a broker.Attempt) (broker.QueuePlace, broker.Attempt, bool, error) {
	if a.State != broker.AttemptPackaging || !a.Waiting.Zero() {
		return broker.QueuePlace{}, a, false, nil
	}
	places, err := s.d.Store.Queue(ctx, a.Project)
	if err != nil {
		return broker.QueuePlace{}, a, false, fmt.Errorf("read the queue: %w", err)
	}
	for _, p := range places {
		if p.Attempt != a.ID {
			continue
		}
		a.WaitingSince, a.Waiting = a.CreatedAt, broker.Wait(broker.WaitBrokerQueue, "", time.Time{})
		if !p.SiteFull {
			return p, a, true, nil
		}
		site, err := s.d.Store.Site(ctx, string(p.Site))
		if err != nil {
			return p, a, false, fmt.Errorf("read site: %w", err)
		}
		a.Waiting.Code = broker.WaitSiteQueueFull
		if !site.Operation.Starts() {
			a.Waiting.Code = broker.WaitSiteCordoned
		}
		return p, a, true, nil
	}
	return broker.QueuePlace{}, a, false, nil
}
