package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// state is where a launch stands in its record.
type state string

const (
	stateQueued  state = "queued"  // nothing has run
	stateRunning state = "running" // pid is known; the program may have run
	stateEnded   state = "ended"
)

// record is what a launch's file holds.
type record struct {
	V        int           `json:"v"`
	Name     string        `json:"name"`
	Account  string        `json:"account"`
	Order    broker.Digest `json:"order"`
	Dir      string        `json:"dir"`
	Argv     []string      `json:"argv"`
	Env      []string      `json:"env"`
	Walltime int64         `json:"walltime_seconds"`
	GPUs     int           `json:"gpus"`
	Hold     bool          `json:"hold"`
	State    state         `json:"state"`
	QueuedAt time.Time     `json:"queued_at"`

	Boot      string    `json:"boot"`
	PID       int       `json:"pid"`
	Ticks     uint64    `json:"start_ticks"` // start time of the process, field 22 of its stat
	StartedAt time.Time `json:"started_at"`

	Why    broker.Outcome `json:"why"` // why it was told to end: cancelled or walltime; "" if it was not
	TermAt time.Time      `json:"term_at"`

	EndedAt  time.Time      `json:"ended_at"`
	Gone     bool           `json:"gone"` // it disappeared and its exit code is not known
	Outcome  broker.Outcome `json:"outcome"`
	ExitCode int            `json:"exit_code"`
}

// same reports whether a launch is the one that the record is of.
func (r *record) same(l broker.Launch) bool {
	return r.Name == l.Name && r.Account == l.Account && r.Order == l.OrderDigest
}

// safeName reports whether a launch's name may be a file name.
func safeName(s string) bool {
	return s != "" && len(s) <= 100 &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

const suffix = ".json"

func (s *Scheduler) path(name string) string { return filepath.Join(s.cfg.Dir, name+suffix) }

// create writes a record that must not exist yet.
func (s *Scheduler) create(r *record) error {
	tmp, err := s.temp(r)
	if err != nil {
		return err
	}
	err = os.Link(tmp, s.path(r.Name)) // like rename, but never over another record
	if err := errors.Join(err, os.Remove(tmp)); err != nil {
		return fmt.Errorf("create record %s: %w", r.Name, err)
	}
	return syncDir(s.cfg.Dir)
}

// save replaces a record and returns when it is on the disk.
func (s *Scheduler) save(r *record) error {
	tmp, err := s.temp(r)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path(r.Name)); err != nil {
		return fmt.Errorf("save record %s: %w", r.Name, errors.Join(err, os.Remove(tmp)))
	}
	return syncDir(s.cfg.Dir)
}

// temp writes a record to a file of its own and flushes it.
func (s *Scheduler) temp(r *record) (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode record %s: %w", r.Name, err)
	}
	f, err := os.CreateTemp(s.cfg.Dir, ".new-*")
	if err != nil {
		return "", fmt.Errorf("write record %s: %w", r.Name, err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write record %s: %w", r.Name, errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the scheduler's own folder
	if err != nil {
		return fmt.Errorf("flush folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush folder: %w", err)
	}
	return nil
}

// load reads every record and removes what a crash left half written.
func (s *Scheduler) load() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(s.cfg.Dir, e.Name())
		if strings.HasPrefix(e.Name(), ".new-") {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove half a record: %w", err)
			}
			continue
		}
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		b, err := os.ReadFile(path) //nolint:gosec // the scheduler's own folder
		if err != nil {
			return fmt.Errorf("read record %s: %w", name, err)
		}
		var r record
		if err := json.Unmarshal(b, &r, json.RejectUnknownMembers(true)); err != nil {
			return fmt.Errorf("read record %s: %w", name, err)
		}
		if r.V != 1 || r.Name != name {
			return fmt.Errorf("read record %s: not a record of that launch", name)
		}
		s.jobs[name] = &job{record: r}
	}
	return nil
}
