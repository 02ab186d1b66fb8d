package broker_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

func TestWordsFromASchedulerAreBoundedToOnePrintableLine(t *testing.T) {
	t.Parallel()
	w := broker.Wait("resources", "a\x1b[31m\nb\t\xff", time.Time{})
	require.Equal(t, "a [31m b", w.Words)
	long := broker.Wait("priority", strings.Repeat("é", 400), time.Time{}).Words
	require.LessOrEqual(t, len(long), 300)
	require.True(t, utf8.ValidString(long))
	require.Equal(t, broker.WaitUnknown, broker.Wait("a word of tomorrow", "", time.Time{}).Code)
}

func TestAnEstimateThatMovesBySecondsIsNoNews(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.FixedZone("", 3600))
	w := broker.Wait(broker.WaitPriority, "Priority", at)
	require.True(t, w.Same(broker.Wait(broker.WaitPriority, "Priority", at.Add(59*time.Second).UTC())))
	require.False(t, w.Same(broker.Wait(broker.WaitPriority, "Priority", at.Add(time.Minute))))
	require.False(t, w.Same(broker.Wait(broker.WaitPriority, "Priority", time.Time{})))
	require.False(t, w.Same(broker.Waiting{}))
	require.True(t, broker.Waiting{}.Zero())
	require.True(t, broker.Waiting{}.Same(broker.Waiting{}))
}

func TestEveryLiveJobThatDoesNotRunSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, js := range broker.JobStates() {
		for _, as := range broker.AttemptStates() {
			j, a := broker.Job{State: js, UpdatedAt: at}, broker.Attempt{State: as, UpdatedAt: at}
			w, since := j.WaitsFor(a)
			idle := js.Terminal() || js != broker.JobInReview && (as.Terminal() || as == broker.AttemptRunning || as == broker.AttemptSealing)
			require.Equal(t, idle, w.Zero(), "%s, %s", js, as)
			require.Equal(t, idle, since.IsZero(), "%s, %s", js, as)
			require.True(t, idle || w.Code.Known())
		}
	}
	told := broker.Wait(broker.WaitLicense, "Licenses", time.Time{})
	w, since := broker.Job{State: broker.JobActive}.WaitsFor(broker.Attempt{State: broker.AttemptQueued, Waiting: told, WaitingSince: at})
	require.Equal(t, told, w)
	require.Equal(t, at, since)
}
