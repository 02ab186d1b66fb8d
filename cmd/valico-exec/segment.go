package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/broker"
)

// codeCkptFull is of a job whose checkpoints are larger than the site keeps.
const codeCkptFull = "ckpt_full"

// errCkptFull ends a workload that fills /ckpt.
var errCkptFull = errors.New("the job's checkpoints are larger than the site keeps")

// ckptEvery is how often the size of /ckpt is looked at while the job runs.
const ckptEvery = 2 * time.Second

// signalOf is the number of a signal of broker.ResumeSignals.
func signalOf(name string) syscall.Signal {
	switch name {
	case "HUP":
		return syscall.SIGHUP
	case "INT":
		return syscall.SIGINT
	case "USR1":
		return syscall.SIGUSR1
	case "USR2":
		return syscall.SIGUSR2
	}
	return syscall.SIGTERM
}

// segment is what a job that resumes has beyond others while it runs.
type segment struct {
	resume  broker.Resume
	ckpt    string // the host's folder
	max     int64  // bytes that it may hold
	margin  time.Duration
	signals chan syscall.Signal
}

// segment prepares it; nil for a job of one segment. Checkpoints that are too
// large already are not opened.
func (l *launcher) segment() (*segment, error) {
	o := l.order.Order
	if !o.Resume.Set() {
		return nil, nil
	}
	s := &segment{
		resume: o.Resume, ckpt: layout.CkptData(l.site, o.Job), max: l.ckptMax, margin: l.margin,
		signals: make(chan syscall.Signal, 1),
	}
	if fi, err := os.Lstat(s.ckpt); err != nil || !fi.IsDir() {
		return nil, failed(codeInternal, "the job's folder for checkpoints is not there", err)
	}
	if s.full() {
		return nil, failed(codeCkptFull, "the job's checkpoints are larger than the site keeps", errCkptFull)
	}
	return s, nil
}

// run gives a context for the workload. The job's signal is sent its time before
// the walltime, and when the launcher is asked to end; then the workload has half
// of the kill margin until TERM, so that all of it together fits the margin.
func (s *segment) run(ctx context.Context, walltime time.Duration) (context.Context, context.CancelCauseFunc) {
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		before, look := time.NewTimer(walltime-s.resume.Before), time.NewTicker(ckptEvery)
		defer before.Stop()
		defer look.Stop()
		for {
			select {
			case <-run.Done():
				return
			case <-before.C:
				s.send()
			case <-look.C:
				if s.full() {
					cancel(errCkptFull)
					return
				}
			case <-ctx.Done():
				if errors.Is(context.Cause(ctx), errTerm) {
					s.send()
					wait(run, s.margin/2)
				}
				cancel(context.Cause(ctx))
				return
			}
		}
	}()
	return run, cancel
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// send sends the job's signal; one that was not passed on yet is enough.
func (s *segment) send() {
	select {
	case s.signals <- signalOf(s.resume.Signal):
	default:
	}
}

// full sums what /ckpt takes on the disk. What cannot be read is not counted: it
// is the job's own and goes away with it.
func (s *segment) full() bool {
	if s.max <= 0 {
		return false
	}
	var sum int64
	_ = filepath.WalkDir(s.ckpt, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the job closed its own folder, or the name is gone
		}
		if fi, err := d.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		if sum > s.max {
			return fs.SkipAll
		}
		return nil
	})
	return sum > s.max
}
