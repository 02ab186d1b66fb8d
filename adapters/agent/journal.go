package agent

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// state is where an attempt stands in the journal.
type state string

const (
	stateReceived   state = "received"   // the order is verified and kept; nothing else happened
	stateStaged     state = "staged"     // image and order lie where the node reads them
	stateSubmitting state = "submitting" // Submit may have been called
	stateSubmitted  state = "submitted"  // the scheduler has it
	stateEnded      state = "ended"      // how it ended is known and nothing runs
	stateSealed     state = "sealed"     // its outputs, if any, lie in the quarantine
)

// record is what the journal holds of one attempt. A record without a Digest
// is of an attempt that was stopped before its order came.
type record struct {
	V          int              `json:"v"`
	State      state            `json:"state"`
	Attempt    broker.AttemptID `json:"attempt"`
	Tenant     broker.TenantID  `json:"tenant"`
	Job        broker.JobID     `json:"job"`
	Submitter  broker.PersonID  `json:"submitter"`
	Account    string           `json:"account"`
	Digest     broker.Digest    `json:"digest"` // of order.json
	NotAfter   time.Time        `json:"not_after"`
	AcceptedAt time.Time        `json:"accepted_at"`
	Telemetry  string           `json:"telemetry"`
	Sandbox    bool             `json:"sandbox"`
	Limits     limits           `json:"limits"`
	Segments   int              `json:"segments,omitzero"` // of the job, when it may resume
	Stop       bool             `json:"stop"`

	Offset  int64    `json:"offset"`  // what of the spool was acknowledged
	Sent    uint64   `json:"sent"`    // events acknowledged; the next has the number Sent+1
	Held    uint64   `json:"held"`    // records that the telemetry level held back
	Notices []notice `json:"notices"` // what is still to be said after the spool
	Drained bool     `json:"drained"` // everything was said and acknowledged

	Outcome    broker.Outcome `json:"outcome"`
	ExitCode   int            `json:"exit_code"`
	Code       string         `json:"code"`
	Usage      consumed       `json:"usage"`
	StartedAt  time.Time      `json:"started_at"`
	FinishedAt time.Time      `json:"finished_at"`
	Manifest   broker.Digest  `json:"manifest"` // "" when nothing was sealed
	SealedAt   time.Time      `json:"sealed_at"`
}

// consumed is an attempt's usage in the journal's own spelling.
type consumed struct {
	GPUSeconds int64  `json:"gpu_seconds"`
	CPUSeconds int64  `json:"cpu_seconds"`
	ElapsedMS  int64  `json:"elapsed_ms"`
	Method     string `json:"method"`
}

func newConsumed(u broker.Usage) consumed {
	return consumed{GPUSeconds: u.GPUSeconds, CPUSeconds: u.CPUSeconds, ElapsedMS: u.Elapsed.Milliseconds(), Method: u.Method}
}

func (c consumed) usage() broker.Usage {
	return broker.Usage{
		GPUSeconds: c.GPUSeconds, CPUSeconds: c.CPUSeconds, Elapsed: time.Duration(c.ElapsedMS) * time.Millisecond, Method: c.Method,
	}
}

// limits are the order's resources in the journal's own spelling.
type limits struct {
	Nodes    int    `json:"nodes"`
	GPUs     int    `json:"gpus_per_node"`
	GPUType  string `json:"gpu_type"`
	CPUs     int    `json:"cpus_per_node"`
	Memory   int    `json:"memory_mib"`
	Walltime int64  `json:"walltime_seconds"`
}

func (l limits) resources() broker.Resources {
	return broker.Resources{
		Nodes: l.Nodes, GPUsPerNode: l.GPUs, GPUType: l.GPUType, CPUsPerNode: l.CPUs, MemoryMiB: l.Memory,
		Walltime: time.Duration(l.Walltime) * time.Second,
	}
}

// notice is a word of the agent's own for people.
type notice struct {
	Name string    `json:"name"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// final reports whether nothing is left to do.
func (r *record) final() bool { return r.State == stateSealed && r.Drained }

// entry is one attempt in memory. mu guards rec and see and is held for the
// time of a journal write at most; only one step of an attempt runs at a time.
type entry struct {
	mu  sync.Mutex
	rec record
	see sight

	busy bool // guarded by Agent.mu: a step runs
}

// sight is what was seen last and needs no journal.
type sight struct {
	state     SchedulerState
	waiting   broker.Waiting
	goneSince time.Time
	cancelled time.Time // when Cancel was last called
	retryAt   time.Time
	faults    int       // in a row
	tellAt    time.Time // telemetry is not tried before
	scan      scan      // of all ranks together
	ranks     []scan    // one each; never changed in place
}

func (e *entry) snapshot() (record, sight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec, e.see
}

func (e *entry) look(change func(*sight)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.see)
}

// update changes a record, and returns when the change is on the disk. If
// change answers false nothing is written.
func (a *Agent) update(e *entry, change func(*record) bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.rec
	if !change(&r) {
		return nil
	}
	if err := a.write(r); err != nil {
		return err
	}
	e.rec = r
	a.cfg.Step("journal_" + string(r.State))
	return nil
}

func (a *Agent) write(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("journal %s: %w", r.Attempt, err)
	}
	if err := writeFile(a.journalPath(r.Attempt), b, 0o600); err != nil {
		return fmt.Errorf("journal %s: %w", r.Attempt, err)
	}
	return nil
}

const (
	journalSuffix = ".json"
	orderSuffix   = ".order"
)

func (a *Agent) journalPath(id broker.AttemptID) string {
	return filepath.Join(a.cfg.Dir, "journal", string(id)+journalSuffix)
}

func (a *Agent) orderPath(id broker.AttemptID) string {
	return filepath.Join(a.cfg.Dir, "journal", string(id)+orderSuffix)
}

// read reads one record; a nil record without an error means there is none.
func (a *Agent) read(id broker.AttemptID) (*record, error) {
	b, err := os.ReadFile(a.journalPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("read the journal of %s: %w", id, err)
	}
	if r.V != 1 || r.Attempt != id {
		return nil, fmt.Errorf("read the journal of %s: it is another's", id)
	}
	return &r, nil
}

// load takes up every attempt that is not final.
func (a *Agent) load() error {
	for _, d := range []string{"journal", "attempts", "ckpt", "quarantine", "images/blobs/sha256"} {
		if err := sweep(filepath.Join(a.cfg.Dir, d)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(a.cfg.Dir, "journal"))
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	for _, f := range entries {
		name, ok := strings.CutSuffix(f.Name(), journalSuffix)
		if !ok {
			continue
		}
		r, err := a.read(broker.AttemptID(name))
		if err != nil {
			return err
		}
		if r != nil && !r.final() {
			a.entries[r.Attempt] = &entry{rec: *r}
		}
	}
	return nil
}

// find returns the entry of an attempt, or nil.
func (a *Agent) find(id broker.AttemptID) (*entry, error) {
	if !safeName(string(id)) {
		return nil, nil
	}
	defer a.hold(id)()
	if e := a.entry(id); e != nil {
		return e, nil
	}
	r, err := a.read(id)
	if err != nil || r == nil {
		return nil, err
	}
	return &entry{rec: *r}, nil // final: not kept in memory
}

// hold keeps other calls about an attempt away until the function it returns
// is called.
func (a *Agent) hold(id broker.AttemptID) (release func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never returns an error
	m := &a.stripes[h.Sum32()%uint32(len(a.stripes))]
	m.Lock()
	return m.Unlock
}

// entry returns the entry of an attempt that is not final, or nil.
func (a *Agent) entry(id broker.AttemptID) *entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entries[id]
}
