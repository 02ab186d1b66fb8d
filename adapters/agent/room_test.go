package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// image gives the next order another image, whose layer has so many bytes.
func (s *site) image(first byte, size int) (layer string) {
	s.auth.Layer = make([]byte, size)
	s.auth.Layer[0] = first
	d := broker.DigestOf(s.auth.Layer)
	s.blobs.mu.Lock()
	defer s.blobs.mu.Unlock()
	s.blobs.blobs[d] = s.auth.Layer
	return filepath.Join(s.dir, "images", "blobs", "sha256", d.Hex())
}

func TestASiteWithoutRoomRefusesWhatIsNewAndKeepsWhatRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	running := true
	s.sched = newMachine(func(l broker.Launch) agent.Status {
		if running {
			return agent.Status{State: agent.SchedulerRunning}
		}
		return s.train(l)
	})
	c := s.config()
	c.ImageBytes = 100_000
	a := s.open(c)
	start := func(id broker.AttemptID) {
		require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, id, nil)))
		a.Turn(t.Context())
	}
	first := s.image(1, 70_000)
	start("att_1")
	require.FileExists(t, first)

	s.clock.add(time.Second)
	second := s.image(2, 60_000)
	start("att_2")
	r := s.finish(a, "att_2")
	require.Equal(t, broker.OutcomeLaunchFailed, r.Outcome)
	require.Equal(t, agent.CodeDiskFull, r.Code)
	require.NoFileExists(t, second)
	require.FileExists(t, first, "what runs keeps its image")

	// The first ends; its image may go when the room is needed, and not before.
	require.NoError(t, a.Stop(t.Context(), "att_1"))
	s.finish(a, "att_1")
	running = false
	require.FileExists(t, first)
	start("att_3")
	require.Equal(t, broker.OutcomeOK, s.finish(a, "att_3").Outcome)
	require.FileExists(t, second)
	require.NoFileExists(t, first)
	n, err := a.ImageBytes()
	require.NoError(t, err)
	require.LessOrEqual(t, n, c.ImageBytes)
}

func TestTheImageThatWasNeededLongestAgoGoesFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.config()
	c.ImageBytes = 100_000
	a := s.open(c)
	run := func(id broker.AttemptID) {
		require.NoError(t, a.Start(t.Context(), s.auth.Issue(t, id, nil)))
		require.Equal(t, broker.OutcomeOK, s.finish(a, id).Outcome)
		s.clock.add(10 * time.Second)
	}
	// Files get their time from the kernel; needing one sets it by the clock.
	old := s.image(1, 30_000)
	run("att_1")
	require.NoError(t, os.Chtimes(old, s.clock.Now(), s.clock.Now()))
	s.clock.add(time.Second)
	newer := s.image(2, 30_000)
	run("att_2")
	require.NoError(t, os.Chtimes(newer, s.clock.Now(), s.clock.Now()))
	s.clock.add(time.Second)
	s.image(1, 30_000)
	run("att_3") // the first again
	third := s.image(3, 50_000)
	run("att_4")
	require.FileExists(t, third)
	require.FileExists(t, old, "it was needed again")
	require.NoFileExists(t, newer)
}
