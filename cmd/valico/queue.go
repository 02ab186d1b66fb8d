package main

import (
	"context"
	"fmt"
	"io"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/queue"
)

// runQueue lists the project's jobs that wait for their turn.
func runQueue(ctx context.Context, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	out, err := c.Queue(ctx)
	if err != nil {
		return err
	}
	return e.emit(out, func(w io.Writer) {
		rows := [][]string{{"JOB", "SITE", "PLACE", "OF", "PRIORITY", "WHY NOT SOONER"}}
		for _, p := range out.Places {
			rows = append(rows, []string{p.Job, p.Site, fmt.Sprint(p.Position), fmt.Sprint(p.Of), dash(p.Priority), e.placeWords(p)})
		}
		table(w, rows...)
		if len(out.Places) == 0 {
			e.say("no job waits for its turn")
		}
	})
}

// placeWords says in the person's language why the job ahead comes first.
func (e *env) placeWords(p wire.QueuePlace) string {
	if words := queue.Words(e.lang(), queue.Before(p.Before), p.SameProject); words != "" {
		return words
	}
	return p.Sentence
}

// placeRows are the rows of a job's place, none when it has none.
func (e *env) placeRows(p *wire.QueuePlace) [][]string {
	if p == nil {
		return nil
	}
	return [][]string{
		{"PLACE", fmt.Sprintf("%d of %d at %s", p.Position, p.Of, p.Site)}, {"PRIORITY", dash(p.Priority)}, {"WHY NOT SOONER", e.placeWords(*p)},
	}
}
