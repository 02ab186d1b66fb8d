package queue

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// HeadStart is by how much a unit of weight counts a job as submitted earlier.
const HeadStart = 15 * time.Minute

// Window is how long what a tenant was given is remembered.
const Window = 24 * time.Hour

// TurnCost is what each job counts besides its GPU-seconds, so that a job without
// GPUs is a turn too.
const TurnCost = 60

// Job is one attempt that waits for its turn.
type Job struct {
	Attempt broker.AttemptID
	ID      broker.JobID
	Tenant  broker.TenantID
	Project broker.ProjectID
	Weight  int64 // of its class, at least 1
	Cost    int64 // GPU-seconds that it reserves, and TurnCost
	At      time.Time
}

// rank is a job's place among its project's jobs.
func (j Job) rank() time.Time { return j.At.Add(-time.Duration(j.Weight) * HeadStart) }

// Snapshot is what an order depends on: the jobs that wait at one site, and what
// tenants and projects were given within Window, at any site.
type Snapshot struct {
	Jobs     []Job
	Tenants  map[broker.TenantID]int64
	Projects map[broker.ProjectID]int64
}

// Before says why the job one place ahead comes first.
type Before string

// Why one job comes before the next.
const (
	First         Before = "first"           // nothing comes before it
	TenantLess    Before = "tenant_less"     // its organisation was given less lately
	ProjectLess   Before = "project_less"    // its project, of the same organisation, was given less lately
	ClassHeavier  Before = "class_heavier"   // its class weighs more
	SubmittedLess Before = "submitted_first" // it was submitted earlier
)

// Place is a job's position, from 1, and why it is not one place further ahead.
type Place struct {
	Job
	Position int
	Before   Before
	// SameTenant and SameProject say whether the job ahead is of the same.
	SameTenant, SameProject bool
}

// Order gives every job of s its place; at most limit places when limit is
// positive.
func Order(s Snapshot, limit int) []Place {
	ts := arrange(s)
	n := len(s.Jobs)
	if limit > 0 {
		n = min(n, limit)
	}
	out := make([]Place, 0, n)
	var was picked
	for len(out) < n {
		t := ts[0]
		p := t.next()
		now := picked{job: p.jobs[0], tenant: t.given, project: p.given}
		place := now.after(was)
		place.Position = len(out) + 1
		out = append(out, place)
		was = now
		t.take(p)
		if len(t.projects) == 0 {
			heap.Pop(&ts)
		} else {
			heap.Fix(&ts, 0)
		}
	}
	return out
}

// project is a project's jobs in their order, and what it was given.
type project struct {
	jobs  []Job
	given int64
}

// tenant is a tenant's projects that have jobs, and what it was given.
type tenant struct {
	projects []*project
	given    int64
}

// tenants is a heap by tenant.less.
type tenants []*tenant

func (ts tenants) Len() int           { return len(ts) }
func (ts tenants) Less(i, j int) bool { return ts[i].less(ts[j]) }
func (ts tenants) Swap(i, j int)      { ts[i], ts[j] = ts[j], ts[i] }
func (ts *tenants) Push(x any)        { *ts = append(*ts, x.(*tenant)) } //nolint:forcetypeassert // container/heap's contract
func (ts *tenants) Pop() any {
	old := *ts
	last := old[len(old)-1]
	*ts = old[:len(old)-1]
	return last
}

// arrange sorts the jobs into tenants and projects.
func arrange(s Snapshot) tenants {
	jobs := slices.SortedFunc(slices.Values(s.Jobs), func(a, b Job) int {
		return cmp.Or(a.rank().Compare(b.rank()), cmp.Compare(a.Attempt, b.Attempt))
	})
	byProject, byTenant := map[broker.ProjectID]*project{}, map[broker.TenantID]*tenant{}
	var out tenants
	for _, j := range jobs {
		t := byTenant[j.Tenant]
		if t == nil {
			t = &tenant{given: s.Tenants[j.Tenant]}
			byTenant[j.Tenant] = t
			out = append(out, t)
		}
		p := byProject[j.Project]
		if p == nil {
			p = &project{given: s.Projects[j.Project]}
			byProject[j.Project] = p
			t.projects = append(t.projects, p)
		}
		p.jobs = append(p.jobs, j)
	}
	heap.Init(&out)
	return out
}

// next is the project whose turn it is within the tenant.
func (t *tenant) next() *project {
	return slices.MinFunc(t.projects, func(a, b *project) int { return turn(a.given, a.jobs[0], b.given, b.jobs[0]) })
}

func (t *tenant) less(o *tenant) bool {
	return turn(t.given, t.next().jobs[0], o.given, o.next().jobs[0]) < 0
}

// take removes the job whose turn it was.
func (t *tenant) take(p *project) {
	j := p.jobs[0]
	t.given, p.given = t.given+j.Cost, p.given+j.Cost
	if p.jobs = p.jobs[1:]; len(p.jobs) == 0 {
		t.projects = slices.DeleteFunc(t.projects, func(o *project) bool { return o == p })
	}
}

// turn compares two jobs whose owners were given a and b.
func turn(a int64, ja Job, b int64, jb Job) int {
	return cmp.Or(cmp.Compare(a*jb.Weight, b*ja.Weight), cmp.Compare(jb.Weight, ja.Weight), ja.At.Compare(jb.At), cmp.Compare(ja.Attempt, jb.Attempt))
}

// picked is a job at its turn, with what its owners had been given by then.
type picked struct {
	job             Job
	tenant, project int64
}

// after says why was came before now.
func (now picked) after(was picked) Place {
	p := Place{Job: now.job, Before: First}
	if was.job.Attempt == "" {
		return p
	}
	p.SameTenant, p.SameProject = was.job.Tenant == now.job.Tenant, was.job.Project == now.job.Project
	switch {
	case p.SameProject && was.job.At.After(now.job.At):
		p.Before = ClassHeavier
	case p.SameProject:
		p.Before = SubmittedLess
	case p.SameTenant:
		p.Before = reason(was.project, was.job, now.project, now.job, ProjectLess)
	default:
		p.Before = reason(was.tenant, was.job, now.tenant, now.job, TenantLess)
	}
	return p
}

// reason says which part of turn decided for a.
func reason(a int64, ja Job, b int64, jb Job, less Before) Before {
	switch {
	case a < b:
		return less
	case ja.Weight > jb.Weight:
		return ClassHeavier
	}
	return SubmittedLess
}
