package scripted

import (
	"encoding/json"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Program is the name of the program whose one argument is a Plan.
const Program = "/scripted"

// Plan is what a launch does. The zero Plan ends at once with code 0.
type Plan struct {
	Queue   time.Duration `json:"queue,omitempty"` // from submission until it may start
	Run     time.Duration `json:"run,omitempty"`
	Until   bool          `json:"until,omitempty"` // it runs until Release, whatever Run says
	Exit    int           `json:"exit,omitempty"`
	Outcome Outcome       `json:"outcome,omitempty"` // how it ends after Run, when not by its exit code
	Notes   bool          `json:"notes,omitempty"`   // it writes TERM down and ends with code 5
	Deaf    bool          `json:"deaf,omitempty"`    // to TERM
	Fails   bool          `json:"fails,omitempty"`   // its start fails, and the cluster holds it for ever
}

// Outcome is how a launch ends.
type Outcome = broker.Outcome

// Argv is a plan as a launch's program.
func (p Plan) Argv() []string {
	b, err := json.Marshal(p)
	if err != nil {
		panic("scripted: a plan always has an encoding: " + err.Error())
	}
	return []string{Program, string(b)}
}

// Read is the plan in a launch's argv, and the zero Plan for any other program.
func Read(l broker.Launch) Plan {
	var p Plan
	if len(l.Argv) != 2 || l.Argv[0] != Program || json.Unmarshal([]byte(l.Argv[1]), &p) != nil {
		return Plan{}
	}
	return p
}

// Event is one line of a script.
type Event struct {
	At time.Duration // after the cluster began
	Do func(*Cluster)
}
