package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger"
)

// AddAllocation stores a grant without an act; what it says of what is reserved,
// used, open and of its version is ignored.
func (s *Store) AddAllocation(ctx context.Context, a broker.Allocation) error {
	if err := checkTerms(a); err != nil {
		return err
	}
	return s.write(ctx, "add allocation", func(ctx context.Context, t *tx) error { return insertAllocation(ctx, t, a) })
}

// CreateAllocation stores a grant, the operator's act and its ledger row.
func (s *Store) CreateAllocation(ctx context.Context, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) (broker.Allocation, error) {
	a.Version, a.Reserved, a.Used, a.OpenGPUs, a.OpenJobs = 1, 0, 0, 0, 0
	if act.Act != broker.ActCreate || a.Frozen {
		return broker.Allocation{}, invalid("act_inconsistent", "an allocation begins with its creation, not frozen", act.Act)
	}
	if err := checkAct(a, act, e); err != nil {
		return broker.Allocation{}, err
	}
	err := s.write(ctx, "create allocation", func(ctx context.Context, t *tx) error {
		if err := insertAllocation(ctx, t, a); err != nil {
			return err
		}
		return insertAct(ctx, t, a, act, e)
	})
	if err != nil {
		return broker.Allocation{}, err
	}
	return a, nil
}

// ChangeAllocation gives an allocation new terms, if its version is still
// a.Version, with the operator's act and its ledger row. What a job reserved
// before stays as it is. Tenant, project, site and access mode never change.
func (s *Store) ChangeAllocation(ctx context.Context, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) (broker.Allocation, error) {
	if err := checkAct(a, act, e); err != nil {
		return broker.Allocation{}, err
	}
	weights, err := encodeWeights(a.Weights)
	if err != nil {
		return broker.Allocation{}, err
	}
	var out broker.Allocation
	err = s.write(ctx, "change allocation "+string(a.ID), func(ctx context.Context, t *tx) error {
		have, err := allocationByID(ctx, t, a.Tenant, a.ID)
		if err != nil {
			return err
		}
		if have.Version != a.Version {
			return conflict(broker.CodeStaleVersion, "the allocation changed meanwhile", fmt.Sprintf("version %d, now %d", a.Version, have.Version))
		}
		if have.Project != a.Project || have.Site != a.Site || have.AccessMode != a.AccessMode {
			return invalid("act_inconsistent", "project, site and access mode of an allocation never change", string(a.ID))
		}
		if a.GPUSeconds < have.GPUSeconds && a.GPUSeconds < have.Reserved+have.Used {
			return belowUse(have)
		}
		a.Version++
		if _, err = t.exec(ctx, `UPDATE allocation SET granted = ?, valid_from = ?, valid_until = ?, weights = ?, max_gpus = ?, max_jobs = ?,
			max_wall = ?, frozen = ?, version = ? WHERE id = ?`, a.GPUSeconds, micros(a.ValidFrom), micros(a.ValidUntil), weights,
			a.MaxGPUs, a.MaxJobs, a.MaxWall.Microseconds(), a.Frozen, a.Version, a.ID); err != nil {
			return err
		}
		if err := insertAct(ctx, t, a, act, e); err != nil {
			return err
		}
		out, err = allocationByID(ctx, t, a.Tenant, a.ID)
		return err
	})
	if err != nil {
		return broker.Allocation{}, err
	}
	return out, nil
}

func belowUse(a broker.Allocation) error {
	return &broker.Error{
		Kind: broker.KindConflict, Code: "allocation_in_use", Message: "the grant cannot be lowered below what is reserved and used",
		Rule:  "reservations never exceed an allocation (promise P3)",
		Value: fmt.Sprintf("%d GPU-seconds reserved, %d used", a.Reserved, a.Used),
		Help:  "freeze the allocation, wait until its jobs have ended, and lower it then", Who: "you",
	}
}

// checkTerms refuses terms that no allocation can have.
func checkTerms(a broker.Allocation) error {
	bad := func(message, value string) error { return invalid("allocation", message, value) }
	switch {
	case a.GPUSeconds < 0 || !a.ValidFrom.Before(a.ValidUntil):
		return bad("an allocation grants GPU time from a moment to a later one", fmt.Sprint(a.GPUSeconds))
	case a.MaxGPUs < 0 || a.MaxJobs < 0 || a.MaxWall < 0:
		return bad("a limit is not negative; zero sets none", fmt.Sprintf("%d GPUs, %d jobs, %s", a.MaxGPUs, a.MaxJobs, a.MaxWall))
	}
	for name, w := range a.Weights {
		if name == "" || w <= 0 || w > broker.MaxWeight {
			return bad("a weight is of a named type of GPU, above 0 and at most 1000", fmt.Sprintf("%q: %d thousandths", name, w))
		}
	}
	return nil
}

// checkAct refuses an act whose parts do not belong together.
func checkAct(a broker.Allocation, act broker.AllocationAct, e ledger.Entry) error {
	if err := checkTerms(a); err != nil {
		return err
	}
	if act.Allocation != a.ID || act.By == "" || len(act.Document) == 0 || !bytes.Equal(act.Document, e.Document) ||
		e.Kind != ledger.KindAllocation || e.Tenant != a.Tenant || e.Permit != ledger.ProjectChain(a.Project) || e.Person != act.By {
		return invalid("act_inconsistent", "the parts of an act do not belong together", string(a.ID))
	}
	return nil
}

func insertAllocation(ctx context.Context, t *tx, a broker.Allocation) error {
	weights, err := encodeWeights(a.Weights)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO allocation (id, tenant_id, project_id, site_id, access_mode, granted, valid_from, valid_until,
		weights, max_gpus, max_jobs, max_wall, frozen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.Tenant, a.Project, a.Site, a.AccessMode, a.GPUSeconds, micros(a.ValidFrom), micros(a.ValidUntil),
		weights, a.MaxGPUs, a.MaxJobs, a.MaxWall.Microseconds(), a.Frozen)
	return err
}

func insertAct(ctx context.Context, t *tx, a broker.Allocation, act broker.AllocationAct, e ledger.Entry) error {
	index, err := appendEntry(ctx, t, a.Project, e)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO allocation_act (allocation_id, version, act, by, reason, ledger_index, at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.Version, act.Act, act.By, act.Reason, index, micros(e.At))
	if err != nil {
		return fmt.Errorf("insert the act: %w", err)
	}
	return nil
}

func encodeWeights(ws map[string]broker.Weight) (string, error) {
	if len(ws) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(ws)
	if err != nil {
		return "", fmt.Errorf("encode weights: %w", err)
	}
	return string(b), nil
}

const allocationColumns = `id, tenant_id, project_id, site_id, access_mode, granted, reserved, used, valid_from, valid_until,
	weights, max_gpus, max_jobs, max_wall, open_gpus, open_jobs, frozen, version FROM allocation`

func scanAllocation(scan scanner) (broker.Allocation, error) {
	var a broker.Allocation
	var from, until sql.NullInt64
	var weights string
	var wall int64
	if err := scan(&a.ID, &a.Tenant, &a.Project, &a.Site, &a.AccessMode, &a.GPUSeconds, &a.Reserved, &a.Used, &from, &until,
		&weights, &a.MaxGPUs, &a.MaxJobs, &wall, &a.OpenGPUs, &a.OpenJobs, &a.Frozen, &a.Version); err != nil {
		return broker.Allocation{}, err
	}
	a.ValidFrom, a.ValidUntil, a.MaxWall = moment(from), moment(until), time.Duration(wall)*time.Microsecond
	if weights != "{}" {
		if err := json.Unmarshal([]byte(weights), &a.Weights); err != nil {
			return broker.Allocation{}, fmt.Errorf("read weights of %s: %w", a.ID, err)
		}
	}
	return a, nil
}

func allocationByID(ctx context.Context, q querier, tenant broker.TenantID, id broker.AllocationID) (broker.Allocation, error) {
	a, err := only(ctx, q, `SELECT `+allocationColumns+` WHERE id = ? AND tenant_id = ?`, []any{id, tenant}, scanAllocation)
	return a, missing(err, "allocation", string(id))
}

// Allocation returns a tenant's grant.
func (s *Store) Allocation(ctx context.Context, tenant broker.TenantID, id broker.AllocationID) (broker.Allocation, error) {
	a, err := allocationByID(ctx, s.read, tenant, id)
	return a, translate("read allocation", err)
}

// Allocations lists a project's grants.
func (s *Store) Allocations(ctx context.Context, project broker.ProjectID) ([]broker.Allocation, error) {
	out, err := list(ctx, s.read, `SELECT `+allocationColumns+` WHERE project_id = ? ORDER BY valid_from, id`,
		[]any{project}, scanAllocation)
	return out, translate("list allocations", err)
}

// TenantAllocations lists the grants of all projects of a tenant.
func (s *Store) TenantAllocations(ctx context.Context, tenant broker.TenantID) ([]broker.Allocation, error) {
	out, err := list(ctx, s.read, `SELECT `+allocationColumns+` WHERE tenant_id = ? ORDER BY project_id, valid_from, id`,
		[]any{tenant}, scanAllocation)
	return out, translate("list allocations", err)
}

// maxAllocations bounds how many grants at one site a job is tried on.
const maxAllocations = 8

// AllocationsAt returns the grants at a site that are valid at t: those that are
// not frozen before those that are, then those with most left.
func (s *Store) AllocationsAt(ctx context.Context, project broker.ProjectID, site broker.SiteID, t time.Time) ([]broker.Allocation, error) {
	out, err := list(ctx, s.read, `SELECT `+allocationColumns+` WHERE project_id = ?1 AND site_id = ?2
		AND valid_from <= ?3 AND valid_until > ?3 ORDER BY frozen, granted - reserved - used DESC, id LIMIT ?4`,
		[]any{project, site, micros(t), maxAllocations}, scanAllocation)
	return out, translate("read allocations", err)
}

// AllocationActs lists what operators did with a tenant's grant, oldest first.
func (s *Store) AllocationActs(ctx context.Context, tenant broker.TenantID, id broker.AllocationID) ([]broker.AllocationAct, error) {
	out, err := list(ctx, s.read, `SELECT c.allocation_id, c.version, c.act, c.by, c.reason, r.document, c.ledger_index, c.at
		FROM allocation_act c JOIN allocation a ON a.id = c.allocation_id JOIN ledger_row r ON r.idx = c.ledger_index
		WHERE c.allocation_id = ? AND a.tenant_id = ? ORDER BY c.version`, []any{id, tenant},
		func(scan scanner) (broker.AllocationAct, error) {
			var c broker.AllocationAct
			var at sql.NullInt64
			err := scan(&c.Allocation, &c.Version, &c.Act, &c.By, &c.Reason, &c.Document, &c.LedgerIndex, &at)
			c.At = moment(at)
			return c, err
		})
	return out, translate("list acts", err)
}
