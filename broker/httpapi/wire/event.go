package wire

import (
	"math"
	"strconv"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Event is one telemetry record or change of state.
type Event struct {
	Cursor  int64     `json:"cursor"`
	Attempt string    `json:"attempt,omitempty"`
	Kind    string    `json:"kind" enum:"state,metric,log,notice"`
	Name    string    `json:"name,omitempty" example:"loss"`
	Value   float64   `json:"value,omitempty"`
	Step    int64     `json:"step,omitempty"`
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at"`
}

// Events is a page of events in the order of their cursors.
type Events struct {
	Events []Event `json:"events" nullable:"false"`
	Next   int64   `json:"next" doc:"Cursor to ask for what follows."`
	// Done says that the job has ended and nothing follows the page.
	Done bool `json:"done"`
}

// NewEvent gives an event as it travels. JSON has no number for what is not
// finite: such a value travels as Text "NaN", "+Inf" or "-Inf".
func NewEvent(e broker.Event) Event {
	w := Event{
		Cursor: e.Cursor, Attempt: string(e.Attempt), Kind: e.Kind, Name: e.Name,
		Value: e.Value, Step: e.Step, Text: e.Text, At: e.At,
	}
	if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) {
		w.Value, w.Text = 0, strconv.FormatFloat(e.Value, 'g', -1, 64)
	}
	return w
}
