package slurm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Job is what slurmctld says of a job; fields that nobody needs are left out.
type Job struct {
	ID          JobID
	Name        string
	User        string
	UserID      int64
	Comment     string
	Account     string
	Partition   string
	States      []JobState
	Reason      string // why it is pending, or why it ended
	Description string // a longer form of Reason, often empty
	Hold        bool
	Requeue     bool
	Restarts    int64
	Exit        ExitCode
	TimeLimit   Number // minutes
	SubmitTime  Number // seconds since 1970; 0 is unset
	StartTime   Number
	EndTime     Number
	Dependency  string
	Requested   TRES // of tres_req_str
	Allocated   TRES // of tres_alloc_str; empty before it ran
	GRESDetail  []string
	Nodes       string
	WorkDir     string
	Stdout      string
}

// ExitCode is how a job's batch script ended.
type ExitCode struct {
	Status []string // such as SUCCESS, ERROR, SIGNALED
	Code   Number
	Signal Number
}

type exitWire struct {
	Status words  `json:"status"`
	Code   Number `json:"return_code"`
	Signal struct {
		ID Number `json:"id"`
	} `json:"signal"`
}

func (e exitWire) exit() ExitCode {
	return ExitCode{Status: e.Status, Code: e.Code, Signal: e.Signal.ID}
}

// TRES are trackable resources by name, such as "gres/gpu" or "gres/gpu:h100".
// Memory is left out: it is written with a unit.
type TRES map[string]int64

// GPUs returns the number of GPUs, of one type if it is named.
func (t TRES) GPUs(kind string) int64 {
	if kind == "" {
		return t["gres/gpu"]
	}
	return t["gres/gpu:"+kind]
}

// parseTRES reads "cpu=2,mem=1G,gres/gpu=4". What is no whole number is left out.
func parseTRES(s string) TRES {
	t := TRES{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(part, "=")
		if n, err := strconv.ParseInt(value, 10, 64); ok && err == nil {
			t[name] = n
		}
	}
	return t
}

type jobWire struct {
	ID          uint32   `json:"job_id"`
	Name        string   `json:"name"`
	User        string   `json:"user_name"`
	UserID      int64    `json:"user_id"`
	Comment     string   `json:"comment"`
	Account     string   `json:"account"`
	Partition   string   `json:"partition"`
	States      words    `json:"job_state"`
	Reason      string   `json:"state_reason"`
	Description string   `json:"state_description"`
	Hold        bool     `json:"hold"`
	Requeue     bool     `json:"requeue"`
	Restarts    int64    `json:"restart_cnt"`
	Exit        exitWire `json:"exit_code"`
	TimeLimit   Number   `json:"time_limit"`
	SubmitTime  Number   `json:"submit_time"`
	StartTime   Number   `json:"start_time"`
	EndTime     Number   `json:"end_time"`
	Dependency  string   `json:"dependency"`
	Requested   string   `json:"tres_req_str"`
	Allocated   string   `json:"tres_alloc_str"`
	GRES        []string `json:"gres_detail"`
	Nodes       string   `json:"nodes"`
	WorkDir     string   `json:"current_working_directory"`
	Stdout      string   `json:"standard_output"`
}

func (w *jobWire) job() Job {
	return Job{
		ID: JobID(w.ID), Name: w.Name, User: w.User, UserID: w.UserID, Comment: w.Comment, Account: w.Account,
		Partition: w.Partition, States: states(w.States), Reason: w.Reason, Description: w.Description, Hold: w.Hold,
		Requeue: w.Requeue, Restarts: w.Restarts, Exit: w.Exit.exit(), TimeLimit: w.TimeLimit, SubmitTime: w.SubmitTime,
		StartTime: w.StartTime, EndTime: w.EndTime, Dependency: w.Dependency, Requested: parseTRES(w.Requested),
		Allocated: parseTRES(w.Allocated), GRESDetail: w.GRES, Nodes: w.Nodes, WorkDir: w.WorkDir, Stdout: w.Stdout,
	}
}

func states(w words) []JobState {
	out := make([]JobState, len(w))
	for i, s := range w {
		out[i] = JobState(s)
	}
	return out
}

// The two halves of the API: of slurmctld and of slurmdbd.
const (
	ctld = "slurm"
	dbd  = "slurmdb"
)

// Job returns one job. A job that slurmctld has forgotten is ClassNotFound.
func (c *Client) Job(ctx context.Context, id JobID) (Job, error) {
	var a struct {
		Jobs []jobWire `json:"jobs"`
	}
	q := call{op: "get job", method: http.MethodGet, api: ctld, path: "job/" + id.String(), read: answer(&a)}
	if err := c.do(ctx, q); err != nil {
		return Job{}, of(id, err)
	}
	for i := range a.Jobs {
		if JobID(a.Jobs[i].ID) == id {
			return a.Jobs[i].job(), nil
		}
	}
	return Job{}, &Error{Op: q.op, Status: http.StatusOK, Job: id, Description: "the answer does not hold the job", class: ClassProtocol}
}

// of adds the job to an error.
func of(id JobID, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Job = id
	}
	return err
}

// Jobs returns those of all jobs that keep wants, in the daemon's order. The
// list is large, some 13 kB a job, and slurmrestd needs a multiple of that:
// never call it in a loop. It is read as a stream, so only what is kept counts
// here.
func (c *Client) Jobs(ctx context.Context, keep func(*Job) bool) ([]Job, error) {
	var out []Job
	err := c.do(ctx, call{
		op: "list jobs", method: http.MethodGet, api: ctld, path: "jobs", max: c.cfg.MaxList,
		read: stream("jobs", func(w *jobWire) {
			if j := w.job(); keep(&j) {
				out = append(out, j)
			}
		}),
	})
	return out, err
}

// StateEntry is one line of the list of states.
type StateEntry struct {
	ID     JobID
	States []JobState
}

// JobStates returns the state of every job that slurmctld knows, cheaply: some
// hundred bytes a job. Elements of arrays and of heterogeneous jobs are left
// out; Submit makes neither.
func (c *Client) JobStates(ctx context.Context) ([]StateEntry, error) {
	type wire struct {
		ID    string `json:"job_id"`
		State words  `json:"state"`
	}
	var out []StateEntry
	err := c.do(ctx, call{
		op: "list job states", method: http.MethodGet, api: ctld, path: "jobs/state", max: c.cfg.MaxList,
		read: stream("jobs", func(w *wire) {
			if id, err := ParseJobID(w.ID); err == nil {
				out = append(out, StateEntry{ID: id, States: states(w.State)})
			}
		}),
	})
	return out, err
}

// stream reads an object whose member name is an array, one element at a time.
// The object must be complete: a list that was cut off is an error, not a
// shorter list.
func stream[T any](name string, each func(*T)) func(io.Reader) error {
	return func(r io.Reader) error {
		d := jsontext.NewDecoder(r, jsontext.AllowInvalidUTF8(true))
		found := false
		err := members(d, func(key string) error {
			if key != name {
				return d.SkipValue() //nolint:wrapcheck // do names the operation
			}
			found = true
			return elements(d, each)
		})
		if err == nil && !found {
			err = fmt.Errorf("the answer has no %q", name)
		}
		return err
	}
}

// members reads an object; each reads the value of the name that it is given.
func members(d *jsontext.Decoder, each func(name string) error) error {
	if err := expect(d, '{'); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err //nolint:wrapcheck // do names the operation
		}
		if err := each(name.String()); err != nil {
			return err
		}
	}
	return expect(d, '}')
}

func elements[T any](d *jsontext.Decoder, each func(*T)) error {
	if err := expect(d, '['); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		var v T
		if err := json.UnmarshalDecode(d, &v); err != nil {
			return err //nolint:wrapcheck // do names the operation
		}
		each(&v)
	}
	return expect(d, ']')
}

func expect(d *jsontext.Decoder, kind jsontext.Kind) error {
	t, err := d.ReadToken()
	if err != nil {
		return err //nolint:wrapcheck // do names the operation
	}
	if t.Kind() != kind {
		return fmt.Errorf("expected %v and found %v", kind, t.Kind())
	}
	return nil
}

// pingWire says by one of two fields whether a controller answers: the older
// versions have the first, v0.0.45 has the second, and those between have both.
type pingWire struct {
	Pings []struct {
		Pinged     string `json:"pinged"`
		Responding bool   `json:"responding"`
	} `json:"pings"`
}

// Ping asks slurmrestd whether slurmctld answers. It does not prove that a
// token is good: slurmrestd answers with a bad one, too.
func (c *Client) Ping(ctx context.Context) error {
	var a pingWire
	q := call{op: "ping", method: http.MethodGet, api: ctld, path: "ping", read: answer(&a)}
	if err := c.do(ctx, q); err != nil {
		return err
	}
	for _, p := range a.Pings {
		if p.Responding || p.Pinged == "UP" {
			return nil
		}
	}
	return &Error{Op: q.op, Status: http.StatusOK, Description: "no slurmctld responds", class: ClassOutage}
}
