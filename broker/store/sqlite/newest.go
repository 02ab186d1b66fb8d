package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/valico-hpc/valico/broker"
)

// NewestAttempts returns the newest attempt of each job that has one, in no
// order.
func (s *Store) NewestAttempts(ctx context.Context, jobs []broker.JobID) ([]broker.Attempt, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(jobs)
	if err != nil {
		return nil, fmt.Errorf("encode jobs: %w", err)
	}
	as, err := list(ctx, s.read, `SELECT `+attemptColumns+` FROM attempt a WHERE a.job_id IN (SELECT value FROM json_each(?))
		AND a.number = (SELECT max(number) FROM attempt n WHERE n.job_id = a.job_id)`, []any{string(b)}, readAttempt)
	return as, translate("list attempts", err)
}
