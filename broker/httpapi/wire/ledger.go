package wire

import (
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// Checkpoint is a signed note over all leaves there are.
type Checkpoint struct {
	Checkpoint string `json:"checkpoint" doc:"C2SP signed note."`
}

// Leaves are leaves of the log, from an index on.
type Leaves struct {
	From   int64          `json:"from"`
	Leaves []receipt.Hash `json:"leaves" nullable:"false"`
}

// Records are the tenant's own records.
type Records struct {
	Records []Record `json:"records" nullable:"false"`
	Next    int64    `json:"next" doc:"Index to ask for what follows."`
	Done    bool     `json:"done" doc:"Nothing follows."`
}

// Record is one record. Salt and document come with what the caller asked for
// or did, and with everything of the tenant for operators.
type Record struct {
	Index    int64          `json:"index"`
	Record   receipt.Record `json:"record"`
	Salt     *receipt.Hash  `json:"salt,omitempty"`
	Document []byte         `json:"document,omitempty"`
}

// Version says what the broker is.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Origin  string `json:"ledger_origin,omitempty"`
}
