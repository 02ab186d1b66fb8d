package app

import (
	"fmt"
	"time"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// KeepConfig bounds what one site's folder keeps of what has ended. What runs, and
// what was not reported yet, is never removed; neither is the quarantine, whose
// outputs wait for a reviewer.
type KeepConfig struct {
	// AttemptKeep is how long an ended attempt's folder stays: order, start marks
	// and spools. Its journal record stays for ever.
	AttemptKeep time.Duration `yaml:"attempt_keep"`
	// AttemptBytes bounds all these folders together. The oldest go earlier; when
	// none may go, new starts end as site_disk_full.
	AttemptBytes int64 `yaml:"attempt_bytes"`
	// CkptKeep is how long checkpoints stay after the newest attempt of a job that
	// did not succeed.
	CkptKeep time.Duration `yaml:"ckpt_keep"`
	// CkptBytes bounds the checkpoints of one job.
	CkptBytes int64 `yaml:"ckpt_bytes"`
	// ImageBytes bounds images; 0 sets no bound but the disk's. Images that no job
	// needs are removed, the least recently used first.
	ImageBytes int64 `yaml:"image_bytes"`
}

func defaultKeep() KeepConfig {
	const week = 7 * 24 * time.Hour
	return KeepConfig{AttemptKeep: week, AttemptBytes: 10 << 30, CkptKeep: week, CkptBytes: 256 << 30}
}

func (k KeepConfig) validate(bad func(path, format string, args ...any)) {
	for key, d := range map[string]time.Duration{"attempt_keep": k.AttemptKeep, "ckpt_keep": k.CkptKeep} {
		if d <= 0 {
			bad("keep."+key, "must be positive, got %s", d)
		}
	}
	for key, n := range map[string]int64{"attempt_bytes": k.AttemptBytes, "ckpt_bytes": k.CkptBytes} {
		if n <= 0 {
			bad("keep."+key, "must be positive, got %d", n)
		}
	}
	if k.ImageBytes < 0 {
		bad("keep.image_bytes", "must not be negative, got %d", k.ImageBytes)
	}
}

// bound sets an agent's bounds.
func (k KeepConfig) bound(c *agent.Config) {
	c.AttemptKeep, c.AttemptBytes = k.AttemptKeep, k.AttemptBytes
	c.CkptKeep, c.CkptBytes, c.ImageBytes = k.CkptKeep, k.CkptBytes, k.ImageBytes
}

// lines are the bounds for the page of the site's operator.
func (k KeepConfig) lines() []wire.ReportLine {
	images := "as much as the disk holds"
	if k.ImageBytes > 0 {
		images = fmt.Sprintf("at most %d bytes", k.ImageBytes)
	}
	return []wire.ReportLine{
		byDesign("bound", fmt.Sprintf("attempts: ended ones for %s, at most %d bytes, the oldest go first", k.AttemptKeep, k.AttemptBytes)),
		byDesign("bound", fmt.Sprintf("ckpt: for %s after a job that did not succeed, at most %d bytes a job", k.CkptKeep, k.CkptBytes)),
		byDesign("bound", "images: "+images+", the least recently used go first"),
		byDesign("bound", "quarantine: no bound, nothing removes what was sealed; journal: one small record per attempt stays"),
	}
}
