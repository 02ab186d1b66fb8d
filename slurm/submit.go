package slurm

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Request describes a batch job. Empty fields are not sent, so the site's
// defaults apply, except Requeue, which is always sent.
type Request struct {
	Name       string
	Script     string   // begins with "#!": Slurm accepts others and fails them when they run
	Env        []string // "NAME=value", at least one; Slurm refuses a job without
	WorkDir    string   // required
	Stdout     string
	Stderr     string
	Stdin      string
	Account    string
	Partition  string
	QOS        string
	Comment    string
	Dependency string // such as "singleton"
	// Reservation and Constraint, such as "nvlink&intel", say where it may run.
	Reservation string
	Constraint  string
	Nodes       int
	Tasks       int
	CPUs        int    // per task
	MemoryMiB   int    // per node
	GRES        string // per node, such as "gres/gpu:h100:4"
	TimeLimit   time.Duration
	Requeue     bool
	Hold        bool
}

// Submitted is an accepted submission.
type Submitted struct {
	ID JobID
	// Message is what the site's submit plugin says to the user.
	Message string
	// Warnings are those that name no field of the request, such as that a job
	// submitted held is held.
	Warnings []string
}

type numberWire struct {
	Set    bool  `json:"set"`
	Number int64 `json:"number"`
}

type descWire struct {
	Name        string      `json:"name,omitzero"`
	Script      string      `json:"script"`
	Env         []string    `json:"environment"`
	WorkDir     string      `json:"current_working_directory"`
	Stdout      string      `json:"standard_output,omitzero"`
	Stderr      string      `json:"standard_error,omitzero"`
	Stdin       string      `json:"standard_input,omitzero"`
	Account     string      `json:"account,omitzero"`
	Partition   string      `json:"partition,omitzero"`
	QOS         string      `json:"qos,omitzero"`
	Comment     string      `json:"comment,omitzero"`
	Dependency  string      `json:"dependency,omitzero"`
	Reservation string      `json:"reservation,omitzero"`
	Constraint  string      `json:"constraints,omitzero"`
	Nodes       string      `json:"nodes,omitzero"`
	Tasks       int         `json:"tasks,omitzero"`
	CPUs        int         `json:"cpus_per_task,omitzero"`
	Memory      *numberWire `json:"memory_per_node,omitzero"`
	GRES        string      `json:"tres_per_node,omitzero"`
	TimeLimit   *numberWire `json:"time_limit,omitzero"`
	Requeue     bool        `json:"requeue"`
	Hold        bool        `json:"hold,omitzero"`
}

// Body returns the bytes that Submit sends for a request, or what is wrong
// with it.
func (r Request) Body() ([]byte, error) {
	switch {
	case !strings.HasPrefix(r.Script, "#!"):
		return nil, errors.New("the script has no interpreter line")
	case len(r.Env) == 0:
		return nil, errors.New("the environment is empty")
	case slices.ContainsFunc(r.Env, func(e string) bool { return strings.IndexByte(e, '=') < 1 || strings.IndexByte(e, 0) >= 0 }):
		return nil, errors.New("an environment entry is not NAME=value")
	case !strings.HasPrefix(r.WorkDir, "/"):
		return nil, errors.New("the working directory is not an absolute path")
	case r.Nodes < 0 || r.Tasks < 0 || r.CPUs < 0 || r.MemoryMiB < 0 || r.TimeLimit < 0:
		return nil, errors.New("a size is below zero")
	case r.GRES != "" && !strings.HasPrefix(r.GRES, "gres/"):
		return nil, errors.New(`the resources per node do not begin with "gres/"`)
	}
	d := descWire{
		Name: r.Name, Script: r.Script, Env: r.Env, WorkDir: r.WorkDir, Stdout: r.Stdout, Stderr: r.Stderr, Stdin: r.Stdin,
		Account: r.Account, Partition: r.Partition, QOS: r.QOS, Comment: r.Comment, Dependency: r.Dependency,
		Reservation: r.Reservation, Constraint: r.Constraint,
		Tasks: r.Tasks, CPUs: r.CPUs, GRES: r.GRES, Requeue: r.Requeue, Hold: r.Hold,
	}
	if r.Nodes > 0 {
		d.Nodes = strconv.Itoa(r.Nodes) // a string; a number draws a warning
	}
	if r.MemoryMiB > 0 {
		d.Memory = &numberWire{Set: true, Number: int64(r.MemoryMiB)}
	}
	if r.TimeLimit > 0 {
		d.TimeLimit = &numberWire{Set: true, Number: int64((r.TimeLimit + time.Minute - 1) / time.Minute)}
	}
	return json.Marshal(struct { //nolint:wrapcheck // Submit names the operation
		Job descWire `json:"job"`
	}{d})
}

// Submit submits a batch job, once. A warning that names a field of the request
// means that Slurm dropped it: the job is then cancelled and the error is
// ClassRefused; if that cancellation fails, the error's Job is set and Unknown
// is true.
func (c *Client) Submit(ctx context.Context, r Request) (Submitted, error) {
	const op = "submit job"
	body, err := r.Body()
	if err != nil {
		return Submitted{}, &Error{Op: op, Err: err, class: ClassRefused, unsent: true}
	}
	var a submitAnswer
	if err := c.do(ctx, call{op: op, method: http.MethodPost, api: ctld, path: "job/submit", body: body, read: answer(&a)}); err != nil {
		return Submitted{}, err
	}
	s, bad := a.judge()
	if bad == nil {
		return s, nil
	}
	bad.Op = op
	if s.ID == 0 {
		return Submitted{}, bad
	}
	bad.Job = s.ID
	if err := c.Cancel(context.WithoutCancel(ctx), s.ID); err != nil && classOf(err) != ClassFinished {
		bad.class, bad.Err = ClassProtocol, err // the job stands without what was dropped
	}
	return Submitted{}, bad
}

type submitAnswer struct {
	ID       uint32    `json:"job_id"`
	Message  string    `json:"job_submit_user_msg"`
	Errors   []message `json:"errors"`
	Warnings []message `json:"warnings"`
}

// judge tells whether a 200 answer means that the job stands as asked for.
func (a submitAnswer) judge() (Submitted, *Error) {
	s := Submitted{ID: JobID(a.ID), Message: clip(a.Message)}
	for _, w := range a.Warnings {
		if namesField(w) {
			return s, &Error{Status: http.StatusOK, Description: "a field was not understood: " + clip(w.Description), Source: clip(w.Source), class: ClassRefused}
		}
		s.Warnings = append(s.Warnings, clip(w.String()))
	}
	if s.ID > 0 {
		for _, e := range a.Errors {
			s.Warnings = append(s.Warnings, clip(e.String()))
		}
		return s, nil
	}
	e := &Error{Status: http.StatusOK, Description: "accepted without a job id", class: ClassProtocol}
	if len(a.Errors) > 0 {
		m := a.Errors[0]
		e.Number, e.Name, e.Description, e.Source = m.Number, clip(m.Name), clip(m.Description), clip(m.Source)
		e.class = classify(http.StatusOK, m.Number)
	}
	return s, e
}

// namesField reports whether a warning is about a place in the request: its
// source is then a JSON pointer.
func namesField(m message) bool {
	return strings.HasPrefix(m.Source, "#") || strings.HasPrefix(m.Source, "/") || strings.Contains(strings.ToLower(m.Description), "unknown field")
}

func classOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.class
	}
	return ClassProtocol
}

// Cancel ends a job: TERM, and KILL after the site's KillWait. An ended job is
// ClassFinished, an unknown one ClassNotFound.
func (c *Client) Cancel(ctx context.Context, id JobID) error { return c.Signal(ctx, id, "") }

// Signal sends a signal by its name, such as "USR1", to a job's processes;
// "" cancels the job.
func (c *Client) Signal(ctx context.Context, id JobID, name string) error {
	var a cancelAnswer
	q := call{op: "cancel job", method: http.MethodDelete, api: ctld, path: "job/" + id.String(), read: answer(&a)}
	if name != "" {
		q.op, q.query = "signal job", url.Values{"signal": {name}}
	}
	d, err := c.speak(ctx, q.op)
	if err != nil {
		return of(id, err)
	}
	if d.cancelByList {
		if q.body, err = json.Marshal(killWire{Jobs: []string{id.String()}, Signal: name}); err != nil {
			return &Error{Op: q.op, Job: id, Err: err, class: ClassRefused, unsent: true}
		}
		q.path, q.query = "jobs", nil
	}
	if err := c.in(ctx, d, q); err != nil {
		return of(id, err)
	}
	if e := a.judge(); e != nil {
		e.Op, e.Job = q.op, id
		return e
	}
	return nil
}

// killWire names jobs to signal. A list that is empty would name them all; it
// always has one.
type killWire struct {
	Jobs   []string `json:"jobs"`
	Signal string   `json:"signal,omitzero"`
}

// cancelAnswer is judged by its status array: HTTP says 200 and errors is empty
// even when another user's job was refused.
type cancelAnswer struct {
	Status []struct {
		Error struct {
			Code    int    `json:"code"`
			String  string `json:"string"`
			Message string `json:"message"`
		} `json:"error"`
	} `json:"status"`
	Errors   []message `json:"errors"`
	Warnings []message `json:"warnings"`
}

func (a cancelAnswer) judge() *Error {
	for _, s := range a.Status {
		if s.Error.Code != 0 {
			return &Error{Status: http.StatusOK, Number: s.Error.Code, Name: clip(s.Error.Message), class: classify(http.StatusOK, s.Error.Code)}
		}
	}
	for _, m := range append(a.Errors, a.Warnings...) {
		if m.Number != 0 || namesField(m) {
			return &Error{Status: http.StatusOK, Number: m.Number, Name: clip(m.Name), Description: clip(m.Description), Source: clip(m.Source), class: classify(http.StatusOK, m.Number)}
		}
	}
	return nil
}
