package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Waiting says why an attempt has not begun.
type Waiting struct {
	Code           string     `json:"code" example:"priority"`
	Words          string     `json:"words,omitempty" doc:"The scheduler's own words."`
	Since          *time.Time `json:"since,omitempty"`
	EstimatedStart *time.Time `json:"estimated_start,omitempty" doc:"When the scheduler expects it to begin, where it says so."`
}

func newWaiting(a broker.Attempt) *Waiting {
	if a.Waiting.Zero() {
		return nil
	}
	return &Waiting{
		Code: string(a.Waiting.Code), Words: a.Waiting.Words, Since: moment(a.WaitingSince), EstimatedStart: moment(a.Waiting.Start),
	}
}
