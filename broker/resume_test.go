package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func TestOnlyAJobThatMayResumeGoesOn(t *testing.T) {
	t.Parallel()
	r := broker.Resume{Signal: "USR1", Before: time.Minute, MaxSegments: 3}
	for _, o := range broker.Outcomes() {
		want := o == broker.OutcomeWalltime || o == broker.OutcomePreempted
		require.Equal(t, want, r.GoesOn(o, ""), "%s", o)
		require.Equal(t, want || o == broker.OutcomeExit, r.GoesOn(o, broker.CodeCheckpoint), "%s", o)
		require.False(t, broker.Resume{}.GoesOn(o, broker.CodeCheckpoint), "%s", o)
	}
}

func TestAResumeBlockLiesWithinItsBounds(t *testing.T) {
	t.Parallel()
	ok := broker.Resume{Signal: "USR1", Before: time.Minute, MaxSegments: 2}
	require.True(t, ok.Valid(2*time.Minute))
	require.True(t, broker.Resume{}.Valid(time.Second))
	require.Equal(t, 1, broker.Resume{}.Segments())
	require.Equal(t, 2, ok.Segments())
	for name, broken := range map[string]func(*broker.Resume){
		"signal":       func(r *broker.Resume) { r.Signal = "KILL" },
		"no signal":    func(r *broker.Resume) { r.Signal = "" },
		"no time":      func(r *broker.Resume) { r.Before = 0 },
		"fraction":     func(r *broker.Resume) { r.Before += time.Millisecond },
		"all the time": func(r *broker.Resume) { r.Before = 2 * time.Minute },
		"one segment":  func(r *broker.Resume) { r.MaxSegments = 1 },
		"too many":     func(r *broker.Resume) { r.MaxSegments = broker.MaxSegments + 1 },
	} {
		r := ok
		broken(&r)
		require.False(t, r.Valid(2*time.Minute), name)
	}
}
