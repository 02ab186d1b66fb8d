package app

import (
	"context"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// RequestCancel asks for the end of a job and lets dispatch see to it at once.
func (s siteAdder) RequestCancel(ctx context.Context, project broker.ProjectID, id broker.JobID, at time.Time) error {
	if err := s.Store.RequestCancel(ctx, project, id, at); err != nil {
		return err
	}
	s.app.dispatch.Kick()
	return nil
}
