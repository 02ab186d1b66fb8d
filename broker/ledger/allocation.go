package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/ledger/receipt"
)

// allocationSchema is the version of allocationDocument.
const allocationSchema = "valico-allocation/v1"

// allocationDocument is an operator's act on an allocation: its terms after it,
// who did it and why. What is reserved and used is not part of an act.
type allocationDocument struct {
	Schema         string                   `json:"schema"`
	Act            string                   `json:"act"`
	Allocation     string                   `json:"allocation"`
	Version        int64                    `json:"version"`
	Tenant         string                   `json:"tenant"`
	Project        string                   `json:"project"`
	Site           string                   `json:"site"`
	AccessMode     string                   `json:"access_mode"`
	GPUSeconds     int64                    `json:"gpu_seconds"`
	ValidFrom      string                   `json:"valid_from"`
	ValidUntil     string                   `json:"valid_until"`
	Weights        map[string]broker.Weight `json:"weights"` // thousandths
	MaxGPUs        int                      `json:"max_gpus"`
	MaxJobs        int                      `json:"max_jobs"`
	MaxWallSeconds int64                    `json:"max_wall_seconds"`
	Frozen         bool                     `json:"frozen"`
	By             string                   `json:"by"`
	Reason         string                   `json:"reason"`
	At             string                   `json:"at"`
}

// EncodeAllocation writes an operator's act down as the ledger keeps it: after
// is the allocation as the act leaves it.
func EncodeAllocation(act string, after broker.Allocation, by broker.PersonID, reason string, at time.Time) ([]byte, error) {
	d := allocationDocument{
		Schema: allocationSchema, Act: act, Allocation: string(after.ID), Version: after.Version, Tenant: string(after.Tenant),
		Project: string(after.Project), Site: string(after.Site), AccessMode: after.AccessMode, GPUSeconds: after.GPUSeconds,
		ValidFrom: receipt.Stamp(after.ValidFrom), ValidUntil: receipt.Stamp(after.ValidUntil), Weights: after.Weights,
		MaxGPUs: after.MaxGPUs, MaxJobs: after.MaxJobs, MaxWallSeconds: int64(after.MaxWall / time.Second), Frozen: after.Frozen,
		By: string(by), Reason: reason, At: receipt.Stamp(at),
	}
	if d.Weights == nil {
		d.Weights = map[string]broker.Weight{}
	}
	b, err := json.Marshal(d) // sorts maps
	if err != nil {
		return nil, fmt.Errorf("encode the act: %w", err)
	}
	return b, nil
}
