package queue_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/queue"
)

var epoch = time.Date(2027, 5, 4, 10, 0, 0, 0, time.UTC)

// snapshots draws jobs of a few tenants with up to three projects each.
func snapshots(rt *rapid.T) queue.Snapshot {
	s := queue.Snapshot{Tenants: map[broker.TenantID]int64{}, Projects: map[broker.ProjectID]int64{}}
	for i := range rapid.IntRange(1, 40).Draw(rt, "jobs") {
		t := rapid.IntRange(0, 4).Draw(rt, "tenant")
		s.Jobs = append(s.Jobs, queue.Job{
			Attempt: broker.AttemptID(fmt.Sprintf("att_%03d", i)), Tenant: broker.TenantID(fmt.Sprintf("ten_%d", t)),
			Project: broker.ProjectID(fmt.Sprintf("prj_%d_%d", t, rapid.IntRange(0, 2).Draw(rt, "project"))),
			Weight:  rapid.SampledFrom([]int64{1, 4, 8, 16}).Draw(rt, "weight"),
			Cost:    queue.TurnCost + rapid.Int64Range(0, 100_000).Draw(rt, "cost"),
			At:      epoch.Add(time.Duration(rapid.IntRange(0, 400).Draw(rt, "minute")) * time.Minute),
		})
	}
	for _, j := range s.Jobs {
		if _, ok := s.Projects[j.Project]; !ok {
			n := rapid.SampledFrom([]int64{0, 0, 60, 7200, 1_000_000}).Draw(rt, "given")
			s.Projects[j.Project] = n
			s.Tenants[j.Tenant] += n
		}
	}
	return s
}

func position(ps []queue.Place, id broker.AttemptID) int {
	return slices.IndexFunc(ps, func(p queue.Place) bool { return p.Attempt == id })
}

func TestEveryJobHasOnePlaceAndEqualSnapshotsHaveEqualOrders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := snapshots(rt)
		want := queue.Order(s, 0)
		require.Len(rt, want, len(s.Jobs))
		seen := map[broker.AttemptID]bool{}
		for i, p := range want {
			require.Equal(rt, i+1, p.Position)
			require.False(rt, seen[p.Attempt])
			seen[p.Attempt] = true
		}
		shuffled := s
		shuffled.Jobs = slices.Clone(s.Jobs)
		seed := rapid.Uint64().Draw(rt, "shuffle")
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled.Jobs), func(i, j int) {
			shuffled.Jobs[i], shuffled.Jobs[j] = shuffled.Jobs[j], shuffled.Jobs[i]
		})
		require.Equal(rt, want, queue.Order(shuffled, 0))
		n := rapid.IntRange(1, len(s.Jobs)).Draw(rt, "limit")
		require.Equal(rt, want[:n], queue.Order(s, n), "a limit cuts and changes nothing")
	})
}

func TestMoreWeightNeverComesLater(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := snapshots(rt)
		i := rapid.IntRange(0, len(s.Jobs)-1).Draw(rt, "which")
		before := position(queue.Order(s, 0), s.Jobs[i].Attempt)
		heavier := s
		heavier.Jobs = slices.Clone(s.Jobs)
		heavier.Jobs[i].Weight += rapid.Int64Range(1, 20).Draw(rt, "more")
		require.LessOrEqual(rt, position(queue.Order(heavier, 0), s.Jobs[i].Attempt), before)
	})
}

// Fair between tenants: whoever was given nothing waits for at most one job of
// each other tenant; whoever was given something waits until the others have
// caught up with it, and no longer.
func TestNoTenantHoldsUpAnothersFirstJob(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := snapshots(rt)
		order := queue.Order(s, 0)
		heaviest := int64(0)
		for _, j := range s.Jobs {
			heaviest = max(heaviest, j.Weight)
		}
		first := map[broker.TenantID]bool{}
		for i, p := range order {
			if first[p.Tenant] {
				continue
			}
			first[p.Tenant] = true
			taken := map[broker.TenantID]int64{}
			for _, q := range order[:i] {
				if taken[q.Tenant] > 0 && s.Tenants[p.Tenant] == 0 {
					rt.Fatalf("%s took a second turn before the first of %s, which was given nothing", q.Tenant, p.Tenant)
				}
				if had := s.Tenants[q.Tenant] + taken[q.Tenant]; had > s.Tenants[p.Tenant]*heaviest {
					rt.Fatalf("%s had been given %d before its turn, more than the weight of any class allows", q.Tenant, had)
				}
				taken[q.Tenant] += q.Cost
			}
		}
	})
}

func TestATenantWithTenThousandJobsDelaysAnothersFirstByOneTurn(t *testing.T) {
	t.Parallel()
	s := queue.Snapshot{}
	for i := range 10_000 {
		s.Jobs = append(s.Jobs, queue.Job{
			Attempt: broker.AttemptID(fmt.Sprintf("att_%05d", i)), Tenant: "flood", Project: "flood", Weight: 16, Cost: queue.TurnCost, At: epoch,
		})
	}
	s.Jobs = append(s.Jobs, queue.Job{Attempt: "late", Tenant: "small", Project: "small", Weight: 1, Cost: 1 << 20, At: epoch.Add(90 * 24 * time.Hour)})
	require.Equal(t, 1, position(queue.Order(s, 10), "late"), "after one of the others")
}

// The ageing bound: a job of the same project passes only within its head start.
func TestWithinAProjectAJobIsPassedOnlyWithinAHeadStart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		order := queue.Order(snapshots(rt), 0)
		for i, p := range order {
			for _, q := range order[:i] {
				if head := time.Duration(q.Weight-p.Weight) * queue.HeadStart; q.Project == p.Project && q.At.Sub(p.At) > head {
					rt.Fatalf("%s passed %s, which was submitted %s before it", q.Attempt, p.Attempt, q.At.Sub(p.At))
				}
			}
		}
	})
}

// Nobody starves: two tenants submit without end, heavier and sooner than the
// third, and its one job is still taken within the turns that the bound allows.
func TestAJobIsTakenWhateverOthersKeepSubmitting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := queue.Snapshot{Tenants: map[broker.TenantID]int64{}, Projects: map[broker.ProjectID]int64{}}
		given := rapid.Int64Range(0, 10*queue.TurnCost).Draw(rt, "given")
		s.Tenants["quiet"], s.Projects["quiet"] = given, given
		s.Jobs = []queue.Job{{Attempt: "quiet", Tenant: "quiet", Project: "quiet", Weight: 1, Cost: queue.TurnCost, At: epoch}}
		weight := rapid.Int64Range(1, 16).Draw(rt, "weight")
		bound := 2*int(given*weight/queue.TurnCost+1) + 1
		for turn := range bound + 1 {
			for _, who := range []string{"a", "b"} {
				s.Jobs = append(s.Jobs, queue.Job{
					Attempt: broker.AttemptID(fmt.Sprintf("%s_%05d", who, turn)), Tenant: broker.TenantID(who), Project: broker.ProjectID(who),
					Weight: weight, Cost: queue.TurnCost, At: epoch.Add(-time.Hour),
				})
			}
			next := queue.Order(s, 1)[0]
			if next.Attempt == "quiet" {
				return
			}
			s.Tenants[next.Tenant] += next.Cost
			s.Projects[next.Project] += next.Cost
			s.Jobs = slices.DeleteFunc(s.Jobs, func(j queue.Job) bool { return j.Attempt == next.Attempt })
		}
		rt.Fatalf("not taken within %d turns", bound)
	})
}

func TestEachPlaceSaysWhyTheOneAheadComesFirst(t *testing.T) {
	t.Parallel()
	job := func(id, tenant, project string, weight int64, minute int) queue.Job {
		return queue.Job{
			Attempt: broker.AttemptID(id), Tenant: broker.TenantID(tenant), Project: broker.ProjectID(project),
			Weight: weight, Cost: queue.TurnCost, At: epoch.Add(time.Duration(minute) * time.Minute),
		}
	}
	for name, c := range map[string]struct {
		first, second queue.Job
		tenants       map[broker.TenantID]int64
		projects      map[broker.ProjectID]int64
		want          queue.Before
	}{
		"submitted earlier":             {first: job("a", "t", "p", 4, 0), second: job("b", "t", "p", 4, 1), want: queue.SubmittedLess},
		"a heavier class":               {first: job("a", "t", "p", 16, 5), second: job("b", "t", "p", 4, 0), want: queue.ClassHeavier},
		"another tenant given less":     {first: job("a", "u", "q", 4, 5), second: job("b", "t", "p", 4, 0), tenants: map[broker.TenantID]int64{"t": 9}, want: queue.TenantLess},
		"another tenant, heavier":       {first: job("a", "u", "q", 16, 5), second: job("b", "t", "p", 4, 0), tenants: map[broker.TenantID]int64{"t": 9, "u": 10}, want: queue.ClassHeavier},
		"another tenant, earlier":       {first: job("a", "u", "q", 4, 0), second: job("b", "t", "p", 4, 5), want: queue.SubmittedLess},
		"another project given less":    {first: job("a", "t", "q", 4, 5), second: job("b", "t", "p", 4, 0), projects: map[broker.ProjectID]int64{"p": 100}, want: queue.ProjectLess},
		"another project, heavier":      {first: job("a", "t", "q", 8, 5), second: job("b", "t", "p", 4, 0), want: queue.ClassHeavier},
		"the same moment, smaller name": {first: job("a", "u", "q", 4, 0), second: job("b", "t", "p", 4, 0), want: queue.SubmittedLess},
	} {
		order := queue.Order(queue.Snapshot{Jobs: []queue.Job{c.second, c.first}, Tenants: c.tenants, Projects: c.projects}, 0)
		require.Equal(t, c.first.Attempt, order[0].Attempt, name)
		require.Equal(t, queue.First, order[0].Before, name)
		require.Equal(t, c.want, order[1].Before, name)
		require.Equal(t, c.first.Project == c.second.Project, order[1].SameProject, name)
		require.Equal(t, c.first.Tenant == c.second.Tenant, order[1].SameTenant, name)
	}
}

func BenchmarkOrder(b *testing.B) {
	s := queue.Snapshot{}
	for i := range 10_000 {
		s.Jobs = append(s.Jobs, queue.Job{
			Attempt: broker.AttemptID(fmt.Sprint(i)), Tenant: broker.TenantID(fmt.Sprint(i % 20)), Project: broker.ProjectID(fmt.Sprint(i % 60)),
			Weight: int64(1 + i%16), Cost: int64(60 + i), At: epoch.Add(time.Duration(i) * time.Second),
		})
	}
	for b.Loop() {
		if len(queue.Order(s, 0)) != len(s.Jobs) {
			b.Fatal("a place is missing")
		}
	}
}
