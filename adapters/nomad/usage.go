package nomad

import (
	"context"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// Usage returns what an ended launch consumed over all its allocations: the time
// that its task ran, in whole seconds, times the GPUs that it held.
func (s *Scheduler) Usage(ctx context.Context, l broker.Launch) (broker.Usage, error) {
	got, ok, err := s.find(ctx, l)
	if err != nil {
		return broker.Usage{}, err
	}
	if !ok {
		return broker.Usage{}, broker.NotFound("launch", l.Name)
	}
	u, err := usage(got, s.cfg.MHzPerCPU)
	if err == nil { // it ended and is accounted: nobody will submit it again
		s.mu.Lock()
		delete(s.taken, keyOf(l))
		s.mu.Unlock()
	}
	return u, err
}

func usage(got seen, mhz int) (broker.Usage, error) {
	switch state(got) {
	case agent.SchedulerEnded:
	case agent.SchedulerGone:
		return broker.Usage{}, broker.NotFound("usage", "the allocation was cleared away")
	case agent.SchedulerUnknown, agent.SchedulerQueued, agent.SchedulerRunning, agent.SchedulerEnding:
		return broker.Usage{}, unavailable("Nomad has not recorded the end of the job yet", nil)
	}
	u := broker.Usage{Method: "nomad"}
	for _, a := range got.allocs {
		t := a.TaskStates[taskName]
		if t == nil || t.StartedAt.IsZero() {
			continue // it held its GPUs and nothing ran
		}
		d := ran(t)
		if t.FinishedAt.IsZero() { // its node was lost: until Nomad noticed
			d = max(0, time.Unix(0, a.ModifyTime).Sub(t.StartedAt))
		}
		secs := int64((d + time.Second - 1) / time.Second)
		u.Elapsed += time.Duration(secs) * time.Second
		u.GPUSeconds += secs * int64(max(0, granted(a)))
		if a.AllocatedResources != nil {
			for _, r := range a.AllocatedResources.Tasks {
				u.CPUSeconds += secs * (r.Cpu.CpuShares / int64(mhz))
			}
		}
	}
	return u, nil
}
