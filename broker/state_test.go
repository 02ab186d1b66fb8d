package broker_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func TestTerminalStatesNeverMove(t *testing.T) {
	t.Parallel()
	for _, s := range broker.JobStates() {
		for _, to := range broker.JobStates() {
			if s.Terminal() {
				require.Error(t, s.To(to), "%s must not become %s", s, to)
			}
		}
	}
	for _, s := range broker.AttemptStates() {
		for _, to := range broker.AttemptStates() {
			if s.Terminal() {
				require.Error(t, s.To(to), "%s must not become %s", s, to)
			}
		}
	}
}

func TestEveryLiveJobCanBeCancelledAndStopped(t *testing.T) {
	t.Parallel()
	for _, s := range broker.JobStates() {
		if s.Terminal() {
			continue
		}
		require.NoError(t, s.To(broker.JobCancelled), "%s", s)
		require.NoError(t, s.To(broker.JobStopped), "%s", s)
	}
}

func TestEveryLiveAttemptCanEnd(t *testing.T) {
	t.Parallel()
	for _, s := range broker.AttemptStates() {
		if !s.Terminal() {
			require.NoError(t, s.To(broker.AttemptDone), "%s", s)
		}
	}
}

// P1 in the state machine itself: no path reaches a scheduler but through ready.
func TestNoAttemptIsSubmittedWithoutHavingBeenReady(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		path := []broker.AttemptState{broker.AttemptPackaging}
		for !path[len(path)-1].Terminal() {
			next := path[len(path)-1].Next()
			path = append(path, next[rng.IntN(len(next))])
			require.Less(t, len(path), 200, "the walk must end: %v", path)
		}
		first := slices.IndexFunc(path, broker.AttemptState.Submitted)
		if first >= 0 {
			require.Contains(t, path[:first], broker.AttemptReady, "%v", path)
			require.Contains(t, path[:first], broker.AttemptClearing, "%v", path)
		}
	}
}

func TestRandomWalksOfJobsEndOnce(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 2000 {
		s, steps := broker.JobSubmitted, 0
		for !s.Terminal() {
			next := s.Next()
			to := next[rng.IntN(len(next))]
			require.NoError(t, s.To(to))
			s = to
			steps++
			require.Less(t, steps, 10)
		}
	}
}

func TestEveryOutcomeEndsAJob(t *testing.T) {
	t.Parallel()
	for _, o := range broker.Outcomes() {
		require.True(t, o.JobState().Terminal(), "%s", o)
		require.NoError(t, broker.JobActive.To(o.JobState()), "%s", o)
	}
}

func TestATransitionErrorNamesBothStates(t *testing.T) {
	t.Parallel()
	err := broker.JobSucceeded.To(broker.JobActive)
	var te *broker.TransitionError
	require.ErrorAs(t, err, &te)
	require.Equal(t, "succeeded", te.From)
	require.EqualError(t, err, `state "succeeded" may not become "active"`)
}
