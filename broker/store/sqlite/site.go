package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// siteRecord is the JSON of site.record. Members may be added, never renamed.
type siteRecord struct {
	Country         string                     `json:"country"`
	Operator        string                     `json:"operator"`
	Scheduler       string                     `json:"scheduler"`
	GPUs            []gpuRecord                `json:"gpus"`
	MaxNodes        int                        `json:"max_nodes"`
	CPUs            int                        `json:"cpus"`
	MemoryMiB       int                        `json:"memory_mib"`
	MaxWall         int64                      `json:"max_wall_us"`
	MaxQueue        int                        `json:"max_queue,omitempty"`
	KillMargin      int64                      `json:"kill_margin_us"`
	Accounts        map[broker.PersonID]string `json:"accounts"`
	Datasets        []datasetRecord            `json:"datasets"`
	MFA             bool                       `json:"mfa"`
	Quarantine      bool                       `json:"quarantine"`
	TelemetryBudget bool                       `json:"telemetry_budget"`
	FabricIsolated  bool                       `json:"fabric_isolated,omitempty"`
	Airlock         bool                       `json:"airlock"`
}

type gpuRecord struct {
	Name    string `json:"name"`
	PerNode int    `json:"per_node"`
}

type datasetRecord struct {
	PURI       string        `json:"puri"`
	Version    string        `json:"version"`
	Path       string        `json:"path"`
	Digest     broker.Digest `json:"digest"`
	Format     string        `json:"format"`
	Holder     string        `json:"holder"`
	Country    string        `json:"country"`
	Categories []string      `json:"categories"`
	Synthetic  bool          `json:"synthetic"`
	CheckedAt  *time.Time    `json:"checked_at"`
}

func encodeSite(s broker.Site) (string, error) {
	r := siteRecord{
		Country: s.Country, Operator: s.Operator, Scheduler: s.Scheduler, MaxNodes: s.MaxNodes, CPUs: s.CPUs,
		MemoryMiB: s.MemoryMiB, MaxQueue: s.MaxQueue, MaxWall: s.MaxWall.Microseconds(), KillMargin: s.KillMargin.Microseconds(),
		Accounts: s.Accounts, MFA: s.MFA, Quarantine: s.Quarantine, TelemetryBudget: s.TelemetryBudget, Airlock: s.Airlock,
		FabricIsolated: s.FabricIsolated,
	}
	for _, g := range s.GPUs {
		r.GPUs = append(r.GPUs, gpuRecord(g))
	}
	for _, d := range s.Datasets {
		x := datasetRecord{
			PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: d.Digest, Format: d.Format,
			Holder: d.Holder, Country: d.Country, Categories: d.Categories, Synthetic: d.Synthetic,
		}
		if !d.CheckedAt.IsZero() {
			at := d.CheckedAt.UTC().Truncate(time.Microsecond)
			x.CheckedAt = &at
		}
		r.Datasets = append(r.Datasets, x)
	}
	b, err := json.Marshal(r)
	return string(b), err
}

func decodeSite(s *broker.Site, record string) error {
	var r siteRecord
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return fmt.Errorf("read site %s: %w", s.ID, err)
	}
	s.Country, s.Operator, s.Scheduler, s.MaxNodes, s.CPUs = r.Country, r.Operator, r.Scheduler, r.MaxNodes, r.CPUs
	s.MemoryMiB, s.MaxQueue, s.Accounts = r.MemoryMiB, r.MaxQueue, r.Accounts
	s.MaxWall, s.KillMargin = time.Duration(r.MaxWall)*time.Microsecond, time.Duration(r.KillMargin)*time.Microsecond
	s.MFA, s.Quarantine, s.TelemetryBudget, s.Airlock = r.MFA, r.Quarantine, r.TelemetryBudget, r.Airlock
	s.FabricIsolated = r.FabricIsolated
	for _, g := range r.GPUs {
		s.GPUs = append(s.GPUs, broker.GPUType(g))
	}
	for _, d := range r.Datasets {
		x := broker.Dataset{
			PURI: d.PURI, Version: d.Version, Path: d.Path, Digest: d.Digest, Format: d.Format,
			Holder: d.Holder, Country: d.Country, Categories: d.Categories, Synthetic: d.Synthetic,
		}
		if d.CheckedAt != nil {
			x.CheckedAt = *d.CheckedAt
		}
		s.Datasets = append(s.Datasets, x)
	}
	return nil
}

// AddSite stores a site; KindConflict when its name is taken.
func (s *Store) AddSite(ctx context.Context, site broker.Site) error {
	if site.ID == "" || site.Name == "" {
		return invalid("site_name", "a site has an identifier and a name", site.Name)
	}
	return s.write(ctx, "add site", func(ctx context.Context, t *tx) error {
		return insertSite(ctx, t, site, s.now())
	})
}

func insertSite(ctx context.Context, t *tx, site broker.Site, now time.Time) error {
	record, err := encodeSite(site)
	if err != nil {
		return fmt.Errorf("encode site: %w", err)
	}
	if site.CreatedAt.IsZero() {
		site.CreatedAt = now
	}
	n, err := t.exec(ctx, `INSERT INTO site (id, name, assurance, isolation, record, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
		site.ID, site.Name, site.Assurance, site.Isolation, record, micros(site.CreatedAt), micros(now))
	if err == nil && n == 0 {
		return conflict("site_exists", "a site of that name exists", site.Name)
	}
	return err
}

// UpdateSite replaces a site's record; its name and time of creation stay.
func (s *Store) UpdateSite(ctx context.Context, site broker.Site) error {
	record, err := encodeSite(site)
	if err != nil {
		return fmt.Errorf("encode site: %w", err)
	}
	now := s.now()
	return s.write(ctx, "update site", func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE site SET assurance = ?, isolation = ?, record = ?, updated_at = ? WHERE id = ?`,
			site.Assurance, site.Isolation, record, micros(now), site.ID)
		if err == nil && n == 0 {
			return broker.NotFound("site", string(site.ID))
		}
		return err
	})
}

const siteColumns = `id, name, assurance, isolation, record, created_at, operation, operation_by, operation_reason, operation_at,
	operation_until, operation_version FROM site`

func scanSite(scan scanner) (broker.Site, error) {
	var x broker.Site
	var record string
	o := &x.Operation
	var at, since, until sql.NullInt64
	if err := scan(&x.ID, &x.Name, &x.Assurance, &x.Isolation, &record, &at, &o.State, &o.By, &o.Reason, &since, &until, &o.Version); err != nil {
		return broker.Site{}, err
	}
	x.CreatedAt, o.Since, o.Until = moment(at), moment(since), moment(until)
	if o.Version == 0 {
		*o = broker.SiteOperation{}
	}
	return x, decodeSite(&x, record)
}

// Sites lists the admitted sites by name.
func (s *Store) Sites(ctx context.Context) ([]broker.Site, error) {
	out, err := list(ctx, s.read, `SELECT `+siteColumns+` ORDER BY name`, nil, scanSite)
	return out, translate("list sites", err)
}

// Site returns a site by its id or its name.
func (s *Store) Site(ctx context.Context, nameOrID string) (broker.Site, error) {
	x, err := only(ctx, s.read, `SELECT `+siteColumns+` WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1`,
		[]any{nameOrID}, scanSite)
	return x, translate("read site", missing(err, "site", nameOrID))
}
