package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Segment is the attempt that takes a job on, with the reservation that it
// needs; both exist once the record took them.
type Segment struct {
	Attempt       broker.Attempt
	Reservation   broker.Reservation
	PermitCeiling *int64 // as in AdmitRecord
}

// Next prepares the attempt after one that ended with more to do. It reserves
// from the allocation that the job was admitted on, at what that charges now, and
// decides nothing: the segment's own clearance does.
func (s *Service) Next(ctx context.Context, job broker.Job, ended broker.Attempt) (Segment, error) {
	now := s.now().UTC().Truncate(time.Microsecond)
	facts, _, err := s.facts(ctx, Request{Principal: Principal{Person: broker.Person{Project: job.Project}}, Spec: job.Spec}, now)
	if err != nil {
		return Segment{}, err
	}
	if facts.Site, err = s.store.Site(ctx, string(job.Site)); err != nil {
		return Segment{}, fmt.Errorf("read site: %w", err)
	}
	if _, facts.Allocation, err = s.store.Reserved(ctx, job.Project, ended.Reservation); err != nil {
		return Segment{}, fmt.Errorf("read the reservation: %w", err)
	}
	r := facts.reservation()
	r.ID, r.Job = broker.NewID[broker.ReservationID]("res"), job.ID
	return Segment{
		Attempt: broker.Attempt{
			ID: broker.NewID[broker.AttemptID]("att"), Tenant: job.Tenant, Project: job.Project, Job: job.ID,
			Number: ended.Number + 1, State: broker.AttemptPackaging, Reservation: r.ID, CreatedAt: now, UpdatedAt: now,
		},
		Reservation: r, PermitCeiling: facts.Permit.ceiling(),
	}, nil
}
