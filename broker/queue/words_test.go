package queue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/queue"
)

func TestEveryReasonHasASentenceInBothLanguages(t *testing.T) {
	t.Parallel()
	for _, b := range []queue.Before{queue.First, queue.TenantLess, queue.ProjectLess, queue.ClassHeavier, queue.SubmittedLess} {
		for _, same := range []bool{true, false} {
			en, it := queue.Words("en", b, same), queue.Words("it", b, same)
			require.NotEmpty(t, en, "%s", b)
			require.NotEmpty(t, it, "%s", b)
			require.NotEqual(t, en, it)
			require.Equal(t, en, queue.Words("de", b, same), "English where there is no other")
		}
	}
	require.Empty(t, queue.Words("en", "another", false))
}
