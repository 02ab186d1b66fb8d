package admission_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// submitUntilKilled is the child: it submits from 32 goroutines and says of each
// answer what it was.
func submitUntilKilled(path string) {
	b, err := openBudget(context.Background(), path)
	if err != nil {
		fmt.Println("error", err) //nolint:forbidigo // the parent reads it
		os.Exit(1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
			for {
				spec := b.shape(rnd)
				job, err := b.submit(context.Background(), spec, broker.NewID[string]("key"))
				mu.Lock()
				switch {
				case err == nil:
					fmt.Println("admitted", job.ID) //nolint:forbidigo // as above
				case noRoom(err):
					fmt.Println("refused") //nolint:forbidigo // as above
				default:
					fmt.Println("error", err) //nolint:forbidigo // as above
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// untilKilled runs the child on the record and kills it after so many answers.
// It returns the jobs whose admission was answered.
func untilKilled(t *testing.T, path string, answers int) []broker.JobID {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), envRecord+"="+path)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	var jobs []broker.JobID
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		require.NotEqual(t, "error", word, rest)
		if word == "admitted" {
			jobs = append(jobs, broker.JobID(rest))
		}
		if n == answers {
			require.NoError(t, c.Process.Kill()) // what it had said by then is read below
		}
	}
	require.Error(t, c.Wait())
	return jobs
}

// P3 across crashes: a process that submits is killed at any moment, the record
// is opened again, some jobs end with less or more than they reserved, and the
// next process goes on. After each step the allocation is what its books say.
func TestABudgetIsExactAfterEachKillOfTheProcessThatSubmits(t *testing.T) {
	t.Parallel()
	const granted = 400_000
	path := filepath.Join(t.TempDir(), "broker.db")
	rnd := seeded(t)
	b, err := openBudget(t.Context(), path)
	require.NoError(t, err)
	b.fill(t, granted, nil)
	require.NoError(t, b.store.Close())
	var answered []broker.JobID
	for range 4 {
		answered = append(answered, untilKilled(t, path, 50+rnd.IntN(200))...)
		b, err = openBudget(t.Context(), path)
		require.NoError(t, err)
		s := b.balanced(t)
		require.LessOrEqual(t, s.reserved, int64(granted)-min(s.used, granted))
		for _, id := range answered {
			require.True(t, s.all[id], "what was answered is there")
		}
		ended := 0
		for id, a := range s.open {
			if ended++; ended > 12 {
				break
			}
			j, err := b.store.Job(t.Context(), b.person.Project, id)
			require.NoError(t, err)
			used := rnd.Int64N(j.Spec.Resources.GPUSeconds(killMargin)*5/4 + 1) // now and then an overrun
			w := h100
			if j.Spec.Resources.GPUType == "l4" {
				w = l4
			}
			b.end(t, a.ID, used)
			s.reserved -= charge(j.Spec.Resources)
			s.used += (used*int64(w) + 999) / 1000
			g := b.grant(t)
			require.Equal(t, []int64{s.reserved, s.used}, []int64{g.Reserved, g.Used}, "refunds are exact")
		}
		b.balanced(t)
		require.NoError(t, b.store.Close())
	}
	b, err = openBudget(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })
	b.overrunBlocks(t, rnd)
}

// overrunBlocks ends a job far beyond what it reserved: all of it is booked, and
// no job that takes a GPU is admitted after it.
func (b *budget) overrunBlocks(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	s, before := b.balanced(t), b.grant(t)
	for id, a := range s.open {
		j, err := b.store.Job(t.Context(), b.person.Project, id)
		require.NoError(t, err)
		if j.Spec.Resources.GPUType != "h100" || j.Spec.Resources.GPUs() == 0 {
			continue
		}
		b.end(t, a.ID, before.GPUSeconds)
		break
	}
	after := b.grant(t)
	require.Equal(t, before.Used+before.GPUSeconds*3/2, after.Used)
	require.Negative(t, after.Available())
	b.balanced(t)
	spec := b.shape(rnd)
	spec.Resources.GPUsPerNode, spec.Resources.Walltime = 1, time.Second
	_, err := b.submit(t.Context(), spec, "")
	require.True(t, noRoom(err), "%v", err)
}
