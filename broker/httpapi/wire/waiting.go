package wire

import (
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/waiting"
)

// Waiting says why a job has not begun. The sentences are English; clients have
// those of other languages by code.
type Waiting struct {
	Code           string     `json:"code" example:"priority"`
	Sentence       string     `json:"sentence" example:"Others come first in the queue of leonardo."`
	Remedy         string     `json:"remedy" doc:"What helps."`
	Who            string     `json:"who" doc:"Who can help."`
	Words          string     `json:"words,omitempty" doc:"The scheduler's own words, or the code of a fault." example:"Priority"`
	Since          *time.Time `json:"since,omitempty"`
	EstimatedStart *time.Time `json:"estimated_start,omitempty" doc:"When the scheduler expects it to begin, where it says so; no promise."`
}

// NewWaiting says why a job has not begun, nil when nothing waits. Attempt is
// its newest, site its site's name.
func NewWaiting(j broker.Job, a broker.Attempt, site string) *Waiting {
	w, since := j.WaitsFor(a)
	if w.Zero() {
		return nil
	}
	m := waiting.Explain("en", w.Code, site)
	return &Waiting{
		Code: string(w.Code), Sentence: m.Sentence, Remedy: m.Remedy, Who: m.Who, Words: w.Words,
		Since: moment(since), EstimatedStart: moment(w.Start),
	}
}
