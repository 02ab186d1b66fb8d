// Package broker is the domain of Valico: the nouns that every other package
// speaks in, their identifiers, their errors and the two state machines.
//
// It knows no storage, transport, policy language or scheduler, imports the
// standard library alone and holds no codec: packages at the edge translate.
//
// A job travels like this (JobState above, AttemptState below the line):
//
//	submitted ──▶ not_admitted
//	    │    └──▶ in_review ──▶ not_admitted
//	    ▼             │
//	 admitted ◀───────┘        every non-final state ──▶ cancelled | stopped
//	    │
//	 active ──▶ succeeded | failed
//	───┼────────────────────────────────────────────────────────────────────
//	packaging ▶ clearing ▶ ready ▶ submitting ▶ queued ▶ starting ▶ running ▶ sealing ▶ done
//	                └▶ refused                       every non-final state ──▶ done
//
// A job whose file has a resume block stays active between its attempts, which
// follow each other as segments: see resume.go.
//
// Two invariants must never break: nothing is submitted to a scheduler unless
// its attempt has been ready, that is, cleared with a ledger receipt (promise
// P1), and an attempt executes at most once (P4), so an attempt whose outcome
// cannot be known ends as lost and is never started again.
//
// Start reading at job.go, then job_state.go and attempt_state.go. The state
// machines are tested by walking random paths; the SQL CHECK lists and the
// mermaid in the README are compared with next().
package broker
