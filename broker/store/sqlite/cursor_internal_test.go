package sqlite

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
)

// FuzzParseCursor: a cursor that is read is the one that is written, and
// anything else is the caller's mistake.
func FuzzParseCursor(f *testing.F) {
	f.Add(formatCursor(time.UnixMicro(1), broker.NewID[broker.JobID]("job")))
	f.Add("MTIz")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte("+1 job_00000000000000000000000000")))
	f.Fuzz(func(t *testing.T, c string) {
		at, id, err := parseCursor(c)
		if err != nil {
			require.Equal(t, broker.KindInvalid, broker.KindOf(err))
			return
		}
		if c != "" {
			require.Equal(t, c, formatCursor(time.UnixMicro(at), id))
		}
	})
}
