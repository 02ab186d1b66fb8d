package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/valico-hpc/valico/broker"
)

// reasonRecord is one reason of decision.reasons.
type reasonRecord struct {
	Code   string            `json:"code"`
	Basis  string            `json:"basis"`
	Path   string            `json:"path"`
	Params map[string]string `json:"params"`
}

func insertDecision(ctx context.Context, t *tx, d broker.Decision) error {
	rs := make([]reasonRecord, 0, len(d.Reasons))
	for _, r := range d.Reasons {
		rs = append(rs, reasonRecord(r))
	}
	b, err := json.Marshal(rs)
	if err != nil {
		return fmt.Errorf("encode reasons: %w", err)
	}
	_, err = t.exec(ctx, `INSERT INTO decision
		(id, tenant_id, project_id, job_id, attempt_id, kind, verdict, reasons, permit_id, input, policy_hash, engine, ledger_index, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.ID, d.Tenant, d.Project, d.Job, null(d.Attempt), d.Kind, d.Verdict, string(b), d.Permit, d.Input,
		d.PolicyHash, d.Engine, d.LedgerIndex, micros(d.At))
	if err != nil {
		return fmt.Errorf("insert decision %s: %w", d.ID, err)
	}
	return nil
}

const decisionColumns = `d.id, d.tenant_id, d.project_id, d.job_id, d.attempt_id, d.kind, d.verdict, d.reasons, d.permit_id, d.input,
	l.document, d.policy_hash, d.engine, d.ledger_index, d.at FROM decision d JOIN ledger_row l ON l.idx = d.ledger_index`

func readDecision(scan scanner) (broker.Decision, error) {
	var d broker.Decision
	var attempt sql.NullString
	var reasons string
	var at sql.NullInt64
	err := scan(&d.ID, &d.Tenant, &d.Project, &d.Job, &attempt, &d.Kind, &d.Verdict, &reasons, &d.Permit, &d.Input,
		&d.Document, &d.PolicyHash, &d.Engine, &d.LedgerIndex, &at)
	if err != nil {
		return broker.Decision{}, err
	}
	d.Attempt, d.At = broker.AttemptID(attempt.String), moment(at)
	var rs []reasonRecord
	if err := json.Unmarshal([]byte(reasons), &rs); err != nil {
		return broker.Decision{}, fmt.Errorf("read the reasons of %s: %w", d.ID, err)
	}
	for _, r := range rs {
		d.Reasons = append(d.Reasons, broker.Reason(r))
	}
	return d, nil
}

// Decisions lists a job's decisions, oldest first.
func (s *Store) Decisions(ctx context.Context, id broker.JobID) ([]broker.Decision, error) {
	ds, err := list(ctx, s.read, `SELECT `+decisionColumns+` WHERE d.job_id = ? ORDER BY d.ledger_index`, []any{id}, readDecision)
	return ds, translate("list decisions", err)
}
