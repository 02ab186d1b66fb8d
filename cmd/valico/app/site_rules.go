package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/policy"
)

// RulesConfig is a folder of a site's own rules, pinned by digest.
type RulesConfig struct {
	Dir    string        `yaml:"dir"`
	Digest broker.Digest `yaml:"digest"`
}

// siteRules evaluates a site's own rules on verified orders. It satisfies
// agent.Rules.
type siteRules struct{ rules *policy.SiteRules }

// loadRules reads the pinned rules; nil when the site has none.
func (c RulesConfig) loadRules(ctx context.Context) (*siteRules, error) {
	if c == (RulesConfig{}) {
		return nil, nil //nolint:nilnil // no rules, no fault
	}
	r, err := policy.LoadSiteRules(ctx, os.DirFS(c.Dir), string(c.Digest))
	if err != nil {
		return nil, &broker.Error{
			Kind: broker.KindInvalid, Code: "site_rules_invalid", Message: "the site's own rules cannot be used: " + err.Error(), Value: c.Dir,
			Rule: "an agent starts with exactly the rules that its operator pinned", Help: "look at what changed there; pin the new digest if you mean it",
			Who: "the site operator", Err: err,
		}
	}
	return &siteRules{rules: r}, nil
}

// Decide refuses what the rules do not allow. What they cannot decide is not
// started, and tried again.
func (s *siteRules) Decide(ctx context.Context, v order.Verified, e broker.Evidence, now time.Time) error {
	in, err := s.input(v, e, now)
	var res policy.Result
	if err == nil {
		res, err = s.rules.Evaluate(ctx, in)
	}
	if err != nil {
		return &broker.Error{
			Kind: broker.KindUnavailable, Code: "site_rules_unavailable", Message: "the site's own rules gave no decision",
			Rule: "what the site's rules cannot decide is not started", Help: "the site operator looks at the agent's log", Who: "the site operator", Err: err,
		}
	}
	if res.Verdict == policy.VerdictAllow {
		return nil
	}
	codes := make([]string, 0, len(res.Reasons))
	for _, r := range res.Reasons {
		codes = append(codes, r.Code)
	}
	return &broker.Error{
		Kind: broker.KindInvalid, Code: "site_rules", Message: "the site's own rules do not let the job start", Value: strings.Join(codes, ", "),
		Rule: "a site may refuse what its operator does not want there, whatever else was decided", Help: "ask the site operator about: " + strings.Join(codes, ", "),
		Who: "the site operator",
	}
}

// input is what the rules see of a verified order and its evidence.
func (s *siteRules) input(v order.Verified, e broker.Evidence, now time.Time) (policy.SiteInput, error) {
	o, l := v.Order, v.Order.Limits
	in := policy.SiteInput{
		Now: now.UTC().Format(time.RFC3339), Site: string(o.Site), Account: o.Account, Person: string(o.Submitter),
		Order: map[string]any{
			"id": string(o.ID), "attempt": string(o.Attempt), "job": string(o.Job), "tenant": string(o.Tenant), "network": o.Network,
			"telemetry": o.Telemetry, "nodes": l.Nodes, "gpus_per_node": l.GPUsPerNode, "gpu_type": l.GPUType,
			"cpus_per_node": l.CPUsPerNode, "memory_mib": l.MemoryMiB, "walltime_seconds": int64(l.Walltime / time.Second),
		},
		Image: policy.SiteImage{Digest: string(o.Image)},
	}
	_, rest, _ := strings.Cut(string(e.Permit), ".")
	payload, _, _ := strings.Cut(rest, ".")
	doc, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return in, fmt.Errorf("read the permit: %w", err)
	}
	for _, part := range []struct {
		to *map[string]any
		b  []byte
	}{{&in.Spec, e.Spec}, {&in.Permit, doc}, {&in.Image.Manifest, e.Manifest}, {&in.Image.Config, e.Config}} {
		if err := json.Unmarshal(bytes.Clone(part.b), part.to); err != nil {
			return in, fmt.Errorf("read the evidence: %w", err)
		}
	}
	return in, nil
}
