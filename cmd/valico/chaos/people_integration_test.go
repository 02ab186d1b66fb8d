//go:build integration

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
)

// people submits every task as a person would, again and again until a broker
// answers, cancels those to cancel, and waits for every end.
func (w *world) people(ctx context.Context, tasks []*task) error {
	var g errgroup.Group
	g.SetLimit(4)
	for _, k := range tasks {
		g.Go(func() error {
			if err := w.insist(ctx, "submit", k, w.submit); err != nil || !k.cancel {
				return err
			}
			return w.insist(ctx, "cancel", k, w.stop)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, k := range tasks {
		if err := w.insist(ctx, "wait for the end of", k, w.ended); err != nil {
			return err
		}
	}
	return nil
}

// insist repeats a step until it is done, the broker refuses for good, or ctx ends.
func (w *world) insist(ctx context.Context, what string, k *task, step func(context.Context, *task) error) error {
	for {
		err := step(ctx, k)
		if err == nil {
			return nil
		}
		if be := (*broker.Error)(nil); errors.As(err, &be) && be.Kind != broker.KindUnavailable && be.Kind != broker.KindInternal {
			return fmt.Errorf("%s %s: %w", what, k.key, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w; last: %w; job %+v", what, k.key, context.Cause(ctx), err, k.job)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *world) submit(ctx context.Context, k *task) (err error) {
	k.job, err = w.Submit(ctx, brokertest.Job{Permit: k.place.permit, Site: k.place.site, Args: k.args}, k.key)
	return err
}

// stop asks for the job's end; of a job that ended by itself there is none.
func (w *world) stop(ctx context.Context, k *task) error {
	c, err := w.Client(demo.Developer)
	if err != nil {
		return err
	}
	_, err = c.Cancel(ctx, k.job.ID)
	if be := (*broker.Error)(nil); errors.As(err, &be) && be.Kind == broker.KindConflict {
		return nil
	}
	k.asked = k.asked || err == nil
	return err
}

var errStillOn = errors.New("it has not ended")

func (w *world) ended(ctx context.Context, k *task) error {
	c, err := w.Client(demo.Developer)
	if err != nil {
		return err
	}
	job, err := c.Job(ctx, k.job.ID)
	if err != nil {
		return err
	}
	k.job = job
	if !broker.JobState(job.State).Terminal() {
		return errStillOn
	}
	return nil
}
