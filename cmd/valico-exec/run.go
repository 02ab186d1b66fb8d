package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/spool"
	"github.com/valico-hpc/valico/images/sandbox"
)

// Why a run was ended from outside.
var (
	errTerm     = errors.New("asked to end")
	errWalltime = errors.New("the order's walltime is over")
)

// run starts the attempt and returns the workload's exit status, or the error
// because of which nothing of it ran.
func (e env) run(ctx context.Context, o options) (int, error) {
	ctx, stop := onSignals(ctx)
	defer stop()
	rank, err := e.rank()
	if err != nil {
		return 0, err
	}
	a := attempt{dir: o.attempt, rank: rank}
	v, err := e.verified(ctx, a)
	if err == nil {
		killpoint("order_verified")
		err = context.Cause(ctx)
	}
	if err == nil {
		err = writeMark(a, v.Digest, e.now())
	}
	if err != nil {
		return 0, errors.Join(err, e.refused(a, err))
	}
	killpoint("start_marked")
	w, err := spool.Create(a.spool())
	if err != nil {
		return 0, failed(codeSpool, "the spool cannot be made", err)
	}
	l := launcher{env: e, options: o, attempt: a, order: v, spool: w, began: e.now()}
	code, runErr := l.run(ctx)
	return code, errors.Join(runErr, w.Close())
}

// onSignals ends the context with errTerm.
func onSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(errTerm)
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel(nil) }
}

// refused leaves a spool that says why nothing ran. It does not when the
// attempt was started: the spool is that start's, or will be, and if the start
// died before it made one, nobody knows more.
func (e env) refused(a attempt, cause error) error {
	if broker.CodeOf(cause) == order.CodeSecondStart {
		return nil
	}
	if marked, err := exists(a.mark()); err != nil || marked {
		return err
	}
	w, err := spool.Create(a.spool())
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(w.Append(ending(cause, e.now())), w.Close())
}

// ending is the outcome of a run of which nothing ran.
func ending(cause error, at time.Time) spool.Record {
	r := spool.Record{Kind: spool.KindOutcome, At: at, Outcome: string(broker.OutcomeLaunchFailed), Code: codeInternal}
	switch {
	case errors.Is(cause, errTerm):
		r.Outcome, r.Code = string(broker.OutcomeCancelled), codeCancelled
	case errors.Is(cause, errWalltime):
		r.Outcome, r.Code = string(broker.OutcomeWalltime), codeWalltime
	case broker.CodeOf(cause) != "":
		r.Code = broker.CodeOf(cause)
	}
	return r
}

// launcher is one started attempt.
type launcher struct {
	env
	options

	attempt attempt
	order   checked
	spool   *spool.Writer
	began   time.Time
}

// run writes the started record, unpacks, runs, and writes the outcome.
func (l *launcher) run(ctx context.Context) (int, error) {
	limits, resume := l.order.Order.Limits, l.order.Order.Resume
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Walltime, errWalltime)
	defer cancel()
	res, cause, err := l.start(ctx)
	r := ending(err, l.now())
	if err == nil {
		r = ended(res, cause, resume, l.now())
	}
	r.GPUs = limits.GPUs()
	r.ElapsedSeconds = int64((l.now().Sub(l.began) + time.Second - 1) / time.Second)
	if spoolErr := l.spool.Append(r); spoolErr != nil {
		err = errors.Join(err, failed(codeSpool, "the outcome cannot be written", spoolErr))
	}
	killpoint("outcome_written")
	code := res.ExitCode
	if limits.Nodes > 1 && r.Code == broker.CodeCheckpoint {
		code = 0 // for the step another status would be a failure, which ends the other ranks
	}
	return code, errors.Join(err, removeTree(l.attempt.root()))
}

// start answers with the reason for which the workload was asked to end, if any.
func (l *launcher) start(ctx context.Context) (sandbox.Result, error, error) {
	r := spool.Record{Kind: spool.KindStarted, At: l.began, Name: string(l.order.Isolation), GPUs: l.order.Order.Limits.GPUs()}
	if err := errors.Join(l.spool.Append(r), l.spool.Sync()); err != nil {
		return sandbox.Result{}, nil, failed(codeSpool, "the start cannot be written", err)
	}
	killpoint("spool_started")
	seg, err := l.segment()
	if err != nil {
		return sandbox.Result{}, nil, err
	}
	if err := unpackImage(ctx, filepath.Join(l.site, "images"), l.order, l.attempt.root()); err != nil {
		return sandbox.Result{}, nil, err
	}
	killpoint("unpacked")
	if seg != nil {
		run, cancel := seg.run(ctx, l.order.Order.Limits.Walltime-l.now().Sub(l.began))
		defer cancel(nil)
		ctx = run
	}
	res, err := l.sandboxed(ctx, seg)
	cause := context.Cause(ctx)
	if err == nil && seg != nil && seg.full() {
		cause, res.Cancelled = errCkptFull, true
	}
	return res, cause, err
}

// sandboxed runs the command and pumps what it says into the spool.
func (l *launcher) sandboxed(ctx context.Context, seg *segment) (sandbox.Result, error) {
	variables, err := l.environment()
	if err != nil {
		return sandbox.Result{}, err
	}
	metrics, err := newMetricsPipe(l.spool, l.now)
	if err != nil {
		return sandbox.Result{}, failed(codeInternal, "the metrics pipe cannot be made", err)
	}
	stdout := &lines{w: l.spool, name: "stdout", now: l.now}
	stderr := &lines{w: l.spool, name: "stderr", now: l.now}
	s := sandbox.Spec{
		Isolation: sandbox.Isolation(l.order.Isolation), Root: l.attempt.root(), Out: l.attempt.out(),
		Argv: l.order.Order.Command, WorkDir: l.order.WorkDir, Env: variables,
		Stdout: stdout, Stderr: stderr, Metrics: metrics.write, KillMargin: l.margin,
		TmpSizeMiB: l.order.Order.Limits.MemoryMiB,
		Started:    func() { killpoint("sandbox_started") },
		// The ranks of a job reach each other over the network of their nodes.
		NodeNetwork: l.order.Order.Network == "job",
	}
	if seg != nil {
		s.Ckpt, s.Signals, s.KillMargin = seg.ckpt, seg.signals, l.margin-l.margin/2
	}
	for _, m := range l.order.Mounts {
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: m.Path, Target: sandbox.DataDir + "/" + m.Name, ReadOnly: true})
	}
	res, err := sandbox.Run(ctx, s)
	metrics.close()
	stdout.close()
	stderr.close()
	return res, launchError(ctx, err)
}

// launchError tells a command that the image lacks from a node that cannot
// shut it in, and both from an end before the start.
func launchError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	e, ok := errors.AsType[*sandbox.SetupError](err)
	if ok && e.Step == sandbox.StepExec {
		return failed(codeExec, "the image's command cannot be started", err)
	}
	return failed(codeIsolation, "the node cannot shut the workload in", err)
}

// environment is the image's, the way to the metrics, which GPUs the scheduler
// granted, and on several nodes which of them this is.
func (l *launcher) environment() ([]string, error) {
	own, err := l.rendezvous()
	if err != nil {
		return nil, err
	}
	own = append(own, "VALICO_METRICS="+fmt.Sprintf("/dev/fd/%d", sandbox.MetricsFD))
	known := map[string]bool{}
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		known[name] = true
	}
	scheduler := []string{"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "SLURM_JOB_GPUS"}
	for _, name := range scheduler {
		if v := l.getenv(name); v != "" {
			own = append(own, name+"="+v)
		}
	}
	var all []string
	for _, v := range l.order.Env {
		if !slices.Contains(scheduler, v.Name) && !known[v.Name] {
			all = append(all, v.Name+"="+v.Value)
		}
	}
	return append(all, own...), nil
}

// ended translates how the sandbox ended into an outcome.
func ended(res sandbox.Result, cause error, resume broker.Resume, at time.Time) spool.Record {
	r := spool.Record{Kind: spool.KindOutcome, At: at, ExitCode: res.ExitCode}
	switch {
	case res.Cancelled && errors.Is(cause, errCkptFull):
		r.Outcome, r.Code = string(broker.OutcomeExit), codeCkptFull
	case res.Cancelled && errors.Is(cause, errWalltime):
		r.Outcome, r.Code = string(broker.OutcomeWalltime), codeWalltime
	case res.Cancelled:
		r.Outcome, r.Code = string(broker.OutcomeCancelled), codeCancelled
	case res.OOM:
		r.Outcome, r.Code = string(broker.OutcomeOOM), "oom"
	case res.Signal != 0:
		r.Outcome, r.Code = string(broker.OutcomeExit), fmt.Sprintf("signal_%d", res.Signal)
	case res.ExitCode == broker.ResumeExit && resume.Set():
		r.Outcome, r.Code = string(broker.OutcomeExit), broker.CodeCheckpoint
	case res.ExitCode != 0:
		r.Outcome, r.Code = string(broker.OutcomeExit), "exit_code"
	default:
		r.Outcome = string(broker.OutcomeOK)
	}
	return r
}

// removeTree removes an unpacked image, whose folders may be closed to writing.
func removeTree(root string) error {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // what cannot be opened is reported by the removal
		}
		return os.Chmod(path, 0o700) //nolint:gosec // a folder that is removed next
	})
	if err := errors.Join(err, os.RemoveAll(root)); err != nil {
		return fmt.Errorf("remove the unpacked image: %w", err)
	}
	return nil
}
