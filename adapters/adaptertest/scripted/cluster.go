package scripted

import (
	"container/heap"
	"fmt"
	"sync"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Config are a Cluster's settings; zero values take the defaults named.
type Config struct {
	Now func() time.Time // time.Now
	// GPUs is how many there are; no bound.
	GPUs int
	// KillMargin is the time from TERM to KILL; 1 s.
	KillMargin time.Duration
	// Again is how long a launch waits that was put back; 2 s.
	Again time.Duration
	// Plan says what a launch does; Read.
	Plan func(broker.Launch) Plan
	// Script is done as its time comes.
	Script []Event
}

// Cluster is the truth behind every Scheduler that is opened on it. It is safe
// for concurrent use.
type Cluster struct {
	cfg Config

	mu      sync.Mutex
	at      time.Time // how far time has passed
	passing bool
	agenda  agenda
	seq     int
	jobs    map[key]*job
	order   []*job // by submission
	queue   []*job
	free    int

	down, gibberish, unaccounted bool
	hung                         chan struct{} // nil unless it hangs
	broke                        map[string]bool
	losing                       map[string]int // answers to submissions of a name that get lost
	epoch                        int            // of credentials; older ones are refused
	calls                        int64
}

type key struct{ name, account string }

func keyOf(l broker.Launch) key { return key{l.Name, l.Account} }

// word is a state as the cluster says it.
type word string

const (
	waits    word = "waits"
	runs     word = "runs"
	leaves   word = "leaves" // TERM was sent
	over     word = "over"
	levitate word = "levitates"
)

// job is a launch in the cluster.
type job struct {
	launch broker.Launch
	plan   Plan
	id     int
	word   word

	failed    bool // its start failed; it is held for ever
	held      bool
	restarts  int
	starts    int
	noted     bool
	startedAt time.Time
	elapsed   time.Duration // of incarnations that are over
	life      int           // which incarnation the agenda's lines are about
	outcome   broker.Outcome
	exit      int
}

// New returns a cluster that begins now.
func New(c Config) *Cluster {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.KillMargin <= 0 {
		c.KillMargin = time.Second
	}
	if c.Again <= 0 {
		c.Again = 2 * time.Second
	}
	if c.Plan == nil {
		c.Plan = Read
	}
	cl := &Cluster{cfg: c, at: c.Now(), jobs: map[key]*job{}, broke: map[string]bool{}, losing: map[string]int{}, free: c.GPUs}
	for _, e := range c.Script {
		cl.later(e.At, func() {
			cl.mu.Unlock() // a line of a script calls what everybody calls
			defer cl.mu.Lock()
			e.Do(cl)
		})
	}
	return cl
}

// line is what is due at a moment.
type line struct {
	at  time.Time
	seq int
	do  func()
}

type agenda []line

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push adds a line, for package heap.
func (a *agenda) Push(x any) {
	if l, ok := x.(line); ok {
		*a = append(*a, l)
	}
}

// Pop removes the last line, for package heap.
func (a *agenda) Pop() any {
	old := *a
	l := old[len(old)-1]
	old[len(old)-1] = line{}
	*a = old[:len(old)-1]
	return l
}

func (c *Cluster) later(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.agenda, line{c.at.Add(d), c.seq, do})
}

// pass does what was due until now. Within a line of a script it is its moment.
func (c *Cluster) pass() {
	if c.passing {
		return
	}
	c.passing = true
	defer func() { c.passing = false }()
	now := c.cfg.Now()
	for len(c.agenda) > 0 && !c.agenda[0].at.After(now) {
		l, ok := heap.Pop(&c.agenda).(line)
		if !ok {
			return
		}
		c.at = l.at
		l.do()
	}
	if now.After(c.at) {
		c.at = now
	}
}

// submit adds a launch, once.
func (c *Cluster) submit(l broker.Launch) (*job, bool) {
	if j, ok := c.jobs[keyOf(l)]; ok {
		return j, j.launch.OrderDigest == l.OrderDigest
	}
	j := &job{launch: l, plan: c.cfg.Plan(l), id: len(c.order) + 1, word: waits, held: l.Hold}
	c.jobs[keyOf(l)] = j
	c.order = append(c.order, j)
	c.ripen(j, j.plan.Queue)
	return j, true
}

// ripen lets a launch start once a time has passed.
func (c *Cluster) ripen(j *job, d time.Duration) {
	life := j.life
	ready := func() {
		if j.life == life && j.word == waits && !j.held && !j.failed && !c.broke[j.launch.Account] {
			c.queue = append(c.queue, j)
			c.fill()
		}
	}
	if d <= 0 {
		ready()
		return
	}
	c.later(d, ready)
}

// fill starts what fits, in order of the queue.
func (c *Cluster) fill() {
	for len(c.queue) > 0 {
		j := c.queue[0]
		gpus := j.launch.Resources.GPUs()
		if j.word == waits && c.cfg.GPUs > 0 && gpus > c.free {
			return
		}
		c.queue = c.queue[1:]
		if j.word == waits {
			c.start(j)
		}
	}
}

func (c *Cluster) start(j *job) {
	if j.plan.Fails {
		j.failed = true
		return
	}
	c.free -= j.launch.Resources.GPUs()
	j.word, j.startedAt = runs, c.at
	j.starts++
	life := j.life
	if !j.plan.Until {
		c.later(j.plan.Run, func() {
			if j.life == life && j.word == runs {
				c.end(j, j.plan.Outcome, j.plan.Exit)
			}
		})
	}
	if limit := j.launch.Resources.Walltime; limit > 0 {
		c.later(limit, func() {
			if j.life == life && j.word == runs {
				c.term(j, broker.OutcomeWalltime)
			}
		})
	}
}

// term sends TERM to a launch, and KILL after the margin.
func (c *Cluster) term(j *job, why broker.Outcome) {
	switch {
	case j.plan.Notes:
		j.noted = true
		c.end(j, why, 5)
	case j.plan.Deaf:
		j.word = leaves
		life := j.life
		c.later(c.cfg.KillMargin, func() {
			if j.life == life && j.word == leaves {
				c.end(j, why, 128+9)
			}
		})
	default:
		c.end(j, why, 128+15)
	}
}

// vacate takes a launch off its node and books what it held.
func (c *Cluster) vacate(j *job) {
	if j.word == runs || j.word == leaves {
		j.elapsed += c.at.Sub(j.startedAt)
		c.free += j.launch.Resources.GPUs()
	}
	j.life++
}

// end ends a launch; "" is by its exit code.
func (c *Cluster) end(j *job, o broker.Outcome, exit int) {
	c.vacate(j)
	if o == "" {
		o = broker.OutcomeOK
		if exit != 0 {
			o = broker.OutcomeExit
		}
	}
	j.word, j.outcome, j.exit = over, o, exit
	c.fill()
}

// cancel ends a launch for a person.
func (c *Cluster) cancel(j *job) {
	switch j.word {
	case waits:
		c.end(j, broker.OutcomeCancelled, 0)
	case runs:
		c.term(j, broker.OutcomeCancelled)
	case leaves, over, levitate:
	}
}

// find is the job of a name and an account, by the rules of a test: it panics
// when there is none.
func (c *Cluster) find(l broker.Launch) *job {
	j, ok := c.jobs[keyOf(l)]
	if !ok {
		panic(fmt.Sprintf("scripted: there is no launch %s of %s", l.Name, l.Account))
	}
	return j
}
