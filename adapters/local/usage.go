package local

import (
	"context"
	"path/filepath"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
)

// Usage returns what an ended launch consumed: as its spool says, or else the
// time between start and end.
func (s *Scheduler) Usage(_ context.Context, l broker.Launch) (broker.Usage, error) {
	s.mu.Lock()
	j, ok := s.jobs[l.Name]
	if !ok || !j.same(l) {
		s.mu.Unlock()
		return broker.Usage{}, broker.NotFound("launch", l.Name)
	}
	r := j.record
	s.mu.Unlock()
	if rec, ok := outcomeOf(filepath.Join(r.Dir, "spool")); ok {
		return broker.Usage{
			GPUSeconds: rec.ElapsedSeconds * int64(r.GPUs), Elapsed: time.Duration(rec.ElapsedSeconds) * time.Second, Method: "spool",
		}, nil
	}
	if r.StartedAt.IsZero() {
		return broker.Usage{Method: "estimate"}, nil
	}
	end := r.EndedAt
	if end.IsZero() {
		end = s.cfg.Now()
	}
	secs := int64((end.Sub(r.StartedAt) + time.Second - 1) / time.Second)
	if limit := r.Walltime + int64(s.cfg.KillMargin/time.Second); r.Gone && r.Walltime > 0 {
		secs = min(secs, limit) // nobody saw it end; it cannot have run longer
	}
	return broker.Usage{
		GPUSeconds: secs * int64(r.GPUs), Elapsed: time.Duration(secs) * time.Second, Method: "estimate",
	}, nil
}

// outcomeOf looks for the outcome record of a spool.
func outcomeOf(path string) (spool.Record, bool) {
	var offset int64
	for {
		recs, next, err := spool.ReadFrom(path, offset)
		for _, r := range recs {
			if r.Kind == spool.KindOutcome {
				return r, true
			}
		}
		if err != nil || len(recs) == 0 || next <= offset {
			return spool.Record{}, false
		}
		offset = next
	}
}
