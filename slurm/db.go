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
)

// DBJob is one incarnation of a job in the accounting database: a job that was
// requeued has several, oldest first, under one id. The newest tells the state,
// all of them together the usage.
type DBJob struct {
	ID        JobID
	Name      string
	User      string
	Comment   string
	Account   string
	States    []JobState
	Reason    string
	Exit      ExitCode
	Elapsed   time.Duration
	Submitted int64 // seconds since 1970; 0 is unset
	Start     int64
	End       int64
	Allocated TRES
	Requested TRES
}

type tresWire struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// tres names resources as slurmctld does. Ids differ from site to site, and a
// count below zero means unknown.
func tres(ws []tresWire) TRES {
	t := TRES{}
	for _, w := range ws {
		name := w.Type
		if w.Name != "" {
			name += "/" + w.Name
		}
		if w.Count >= 0 {
			t[name] += w.Count
		}
	}
	return t
}

type dbJobWire struct {
	ID      uint32 `json:"job_id"`
	Name    string `json:"name"`
	User    string `json:"user"`
	Account string `json:"account"`
	Comment struct {
		Job string `json:"job"`
	} `json:"comment"`
	State struct {
		Current words  `json:"current"`
		Reason  string `json:"reason"`
	} `json:"state"`
	Exit exitWire `json:"exit_code"`
	Time struct {
		Elapsed    int64 `json:"elapsed"`
		Submission int64 `json:"submission"`
		Start      int64 `json:"start"`
		End        int64 `json:"end"`
	} `json:"time"`
	TRES struct {
		Allocated []tresWire `json:"allocated"`
		Requested []tresWire `json:"requested"`
	} `json:"tres"`
}

func (w *dbJobWire) job() DBJob {
	return DBJob{
		ID: JobID(w.ID), Name: w.Name, User: w.User, Comment: w.Comment.Job, Account: w.Account,
		States: states(w.State.Current), Reason: w.State.Reason, Exit: w.Exit.exit(),
		Elapsed:   time.Duration(min(max(w.Time.Elapsed, 0), 1<<32)) * time.Second,
		Submitted: w.Time.Submission, Start: w.Time.Start, End: w.Time.End,
		Allocated: tres(w.TRES.Allocated), Requested: tres(w.TRES.Requested),
	}
}

// DBJob returns the incarnations of a job, oldest first; none when the database
// does not know it, which may be a second or more behind slurmctld.
func (c *Client) DBJob(ctx context.Context, id JobID) ([]DBJob, error) {
	all, err := c.dbJobs(ctx, "get job from database", "job/"+id.String(), nil, c.cfg.MaxBody)
	if err != nil {
		return nil, of(id, err)
	}
	var out []DBJob
	for _, j := range all {
		if j.ID == id {
			out = append(out, j)
		}
	}
	return out, nil
}

// DBQuery selects jobs of the accounting database.
type DBQuery struct {
	Users []string
	Names []string  // job names
	Since time.Time // jobs that were there at that time or later; zero takes Slurm's default
}

// DBJobs returns the jobs that a query selects, without their steps. Slurm
// ignores what it does not understand, so the answer is checked against the
// query here.
func (c *Client) DBJobs(ctx context.Context, q DBQuery) ([]DBJob, error) {
	const op = "search database"
	d, err := c.speak(ctx, op)
	if err != nil {
		return nil, err
	}
	v := url.Values{"skip_steps": {"true"}, "show_duplicates": {"true"}}
	if len(q.Users) > 0 {
		v.Set("users", strings.Join(q.Users, ","))
	}
	if len(q.Names) > 0 {
		v.Set("job_name", strings.Join(q.Names, ","))
	}
	if !q.Since.IsZero() {
		v.Set("start_time", d.timePrefix+strconv.FormatInt(q.Since.Unix(), 10))
	}
	all, err := c.dbJobs(ctx, op, "jobs", v, c.cfg.MaxList)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, j := range all {
		if has(q.Users, j.User) && has(q.Names, j.Name) {
			out = append(out, j)
		}
	}
	return out, nil
}

func has(set []string, s string) bool { return len(set) == 0 || slices.Contains(set, s) }

func (c *Client) dbJobs(ctx context.Context, op, path string, v url.Values, limit int64) ([]DBJob, error) {
	var out []DBJob
	err := c.database(ctx, call{
		op: op, method: http.MethodGet, api: dbd, path: path, query: v, max: limit,
		read: stream("jobs", func(w *dbJobWire) { out = append(out, w.job()) }),
	})
	return out, err
}

// database sends a request to slurmdbd's half of the API. There slurmrestd says
// of a token that is not accepted what it says when slurmdbd is away; a question
// to slurmctld, which no job of that number need answer, tells them apart.
func (c *Client) database(ctx context.Context, q call) error {
	err := c.do(ctx, q)
	if e, ok := errors.AsType[*Error](err); !ok || e.Number != numberDB || c.cfg.Token == nil {
		return err
	}
	if _, probe := c.Job(ctx, 1); classOf(probe) == ClassAuth {
		e, _ := errors.AsType[*Error](probe)
		e.Op, e.Job = q.op, 0
		return e
	}
	return err
}
