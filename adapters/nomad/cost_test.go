package nomad_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/nomad"
	"github.com/valico-hpc/valico/broker"
)

// crowd is a Nomad with many running launches, in pages and with blocking
// queries as Nomad has them. It has no event stream. It counts what a tick costs.
type crowd struct {
	jobs, allocs []json.RawMessage

	bare  bool        // without the headers of a real one
	hasty bool        // answers blocking queries at once
	deaf  atomic.Bool // to blocking queries

	mu      sync.Mutex
	index   uint64
	moved   chan struct{}
	lists   int
	blocked int // blocking queries that stand
	killed  map[string]int
}

func newCrowd(ls []broker.Launch, namespace func(int) string) *crowd {
	c := &crowd{index: 7, moved: make(chan struct{}), killed: map[string]int{}}
	for i, l := range ls {
		c.jobs = append(c.jobs, fmt.Appendf(nil, `{"ID":%q,"Namespace":%q,"Status":"running","Meta":{"order":%q,"account":%q}}`, l.Name, namespace(i), l.OrderDigest, l.Account))
		c.allocs = append(c.allocs, fmt.Appendf(nil, `{"ID":"alloc-%d","JobID":%q,"Namespace":%q,"ClientStatus":"running","DesiredStatus":"run","CreateIndex":%d,
			"AllocatedResources":{"Tasks":{"main":{"Devices":[{"Type":"gpu","DeviceIDs":["x"]}]}}}}`, i, l.Name, namespace(i), i+1))
	}
	return c
}

// move changes something, as far as blocking queries see it.
func (c *crowd) move() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all := map[string][]json.RawMessage{"/v1/jobs": c.jobs, "/v1/allocations": c.allocs, "/v1/evaluations": {}}
	rows, ok := all[r.URL.Path]
	if r.Method == http.MethodDelete {
		c.mu.Lock()
		c.killed[r.URL.Query().Get("namespace")]++
		c.mu.Unlock()
		_, _ = w.Write([]byte(`{}`))
		return
	}
	if !ok {
		http.Error(w, "not here", http.StatusInternalServerError)
		return
	}
	q := r.URL.Query()
	per, _ := strconv.Atoi(q.Get("per_page"))
	if per == 1 {
		if c.deaf.Load() {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		c.block(r)
	} else {
		c.mu.Lock()
		c.lists++
		c.mu.Unlock()
	}
	if !c.bare {
		w.Header().Set("X-Nomad-LastContact", "0")
		w.Header().Set("X-Nomad-KnownLeader", "true")
	}
	from, _ := strconv.Atoi(q.Get("next_token"))
	to := min(len(rows), from+per)
	if to < len(rows) {
		w.Header().Set("X-Nomad-NextToken", strconv.Itoa(to))
	}
	c.mu.Lock()
	w.Header().Set("X-Nomad-Index", strconv.FormatUint(c.index, 10))
	c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(rows[from:to])
}

func (c *crowd) block(r *http.Request) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	c.mu.Lock()
	moved, now := c.moved, c.index
	if after == 0 || after < now || c.hasty {
		c.mu.Unlock()
		return
	}
	c.blocked++
	c.mu.Unlock()
	select {
	case <-moved:
	case <-time.After(wait):
	case <-r.Context().Done():
	}
	c.mu.Lock()
	c.blocked--
	c.mu.Unlock()
}

func (c *crowd) standing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocked == 2
}

func (c *crowd) listed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lists
}

func many(n int) []broker.Launch {
	out := make([]broker.Launch, n)
	for i := range out {
		out[i] = sample()
		out[i].Name = fmt.Sprintf("a%d", i)
		if i%2 == 1 {
			out[i].Account = "another"
		}
	}
	return out
}

func crowded(tb testing.TB, c *crowd, spaces map[string]string) *nomad.Scheduler {
	tb.Helper()
	srv := httptest.NewServer(c)
	tb.Cleanup(srv.Close)
	s, err := nomad.New(nomad.Config{Address: srv.URL, Accounts: []string{"person", "another"}, Namespaces: spaces, UID: uids})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func alone(int) string { return "default" }

func TestATickCostsNothingWhileBlockingQueriesStandAndListsOnceWhenOneReturns(t *testing.T) {
	t.Parallel()
	ls := many(40)
	c := newCrowd(ls, alone)
	s := crowded(t, c, nil)
	require.Eventually(t, c.standing, time.Minute, time.Millisecond)
	look := func() int {
		before := c.listed()
		sts, err := s.Watch(t.Context(), ls)
		require.NoError(t, err)
		require.Len(t, sts, len(ls))
		return c.listed() - before
	}
	require.Equal(t, 3, look(), "jobs, evaluations, allocations")
	require.Eventually(t, func() bool { return look() == 0 }, time.Minute, time.Millisecond)
	c.move()
	require.Eventually(t, func() bool { return look() == 3 }, time.Minute, time.Millisecond, "the index moved")
	require.Eventually(t, func() bool { return look() == 0 }, time.Minute, time.Millisecond)
	require.Eventually(t, c.standing, time.Minute, time.Millisecond)
	c.mu.Lock()
	c.index = 3 // restored from a backup
	c.mu.Unlock()
	c.move()
	require.Eventually(t, func() bool { return look() == 3 }, time.Minute, time.Millisecond, "an index that went back is read anew")
}

func TestWithoutEventStreamAndBlockingQueriesEveryTickLists(t *testing.T) {
	t.Parallel()
	ls := many(4)
	c := newCrowd(ls, alone)
	c.deaf.Store(true)
	s := crowded(t, c, nil)
	for range 3 {
		before := c.listed()
		_, err := s.Watch(t.Context(), ls)
		require.NoError(t, err)
		require.Equal(t, 3, c.listed()-before)
	}
}

func TestANomadThatDoesNotBlockIsNotAskedAllTheTimeNorBelieved(t *testing.T) {
	t.Parallel()
	ls := many(4)
	c := newCrowd(ls, alone)
	c.hasty = true
	s := crowded(t, c, nil)
	for range 3 {
		before := c.listed()
		_, err := s.Watch(t.Context(), ls)
		require.NoError(t, err)
		require.LessOrEqual(t, c.listed()-before, 3)
	}
	c.move()
	before := c.listed()
	require.Eventually(t, func() bool {
		_, err := s.Watch(t.Context(), ls)
		return err == nil && c.listed() > before
	}, time.Minute, time.Millisecond)
	require.Less(t, s.Requests(), int64(10_000))
}

func TestALongListComesInPagesAndIsNotCutUnseen(t *testing.T) {
	t.Parallel()
	ls := many(4100)
	c := newCrowd(ls, alone)
	sts, err := crowded(t, c, nil).Watch(t.Context(), ls)
	require.NoError(t, err)
	require.Len(t, sts, len(ls))
	require.Equal(t, 3+1+3, c.listed(), "three pages of jobs, one of evaluations, three of allocations")

	c = newCrowd(ls, alone)
	c.bare = true
	_, err = crowded(t, c, nil).Watch(t.Context(), ls)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
}

func TestTwoTenantsAreWatchedInOneListAndEachIsEndedInItsOwnNamespace(t *testing.T) {
	t.Parallel()
	ls := many(6)
	spaces := map[string]string{"person": "n-one", "another": "n-two"}
	c := newCrowd(ls, func(i int) string { return map[int]string{0: "n-one", 1: "n-two"}[i%2] })
	// the same id in the other namespace is a stranger's
	c.jobs = append(c.jobs, []byte(`{"ID":"a0","Namespace":"n-two","Status":"dead","Meta":{"order":"`+string(ls[0].OrderDigest)+`"}}`))
	s := crowded(t, c, spaces)
	before := c.listed()
	sts, err := s.Watch(t.Context(), ls)
	require.NoError(t, err)
	require.Equal(t, 3, c.listed()-before)
	require.Len(t, sts, len(ls))
	for _, st := range sts {
		require.Equal(t, agent.SchedulerRunning, st.State, st.Name)
	}

	moved := ls[2] // its account has another namespace now
	moved.Account = "another"
	require.Equal(t, "launch_elsewhere", broker.CodeOf(s.Submit(t.Context(), moved)), "it is not started in a second namespace")
	require.Equal(t, map[string]int{"n-one": 1}, c.killed, "and ended in the first")
}

// BenchmarkTick is one Watch of 10, 1,000 and 5,000 running launches: while
// nothing changes, and anew each time, as on a cluster without an event stream
// where something always does. Nomad's pages of 2,000 rows are all that grows.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		ls := many(n)
		c := newCrowd(ls, alone)
		b.Run(strconv.Itoa(n)+"/still", func(b *testing.B) {
			s := crowded(b, c, nil)
			require.Eventually(b, c.standing, time.Minute, time.Millisecond)
			tick(b, c, s, ls)
		})
		b.Run(strconv.Itoa(n)+"/changing", func(b *testing.B) {
			c.deaf.Store(true)
			defer c.deaf.Store(false)
			tick(b, c, crowded(b, c, nil), ls)
		})
	}
}

func tick(b *testing.B, c *crowd, s *nomad.Scheduler, ls []broker.Launch) {
	b.Helper()
	_, err := s.Watch(b.Context(), ls)
	require.NoError(b, err)
	before, ticks := c.listed(), 0
	for b.Loop() {
		sts, err := s.Watch(b.Context(), ls)
		require.NoError(b, err)
		require.Len(b, sts, len(ls))
		ticks++
	}
	b.ReportMetric(float64(c.listed()-before)/float64(ticks), "lists/tick")
}
