// Package metrics counts what a broker does, for Prometheus.
//
// It knows the ports that it watches (admission.Engine, dispatch.Site, the
// record's census) and nothing of SQL, HTTP routes or schedulers. Nothing in it
// is global: New makes a registry of its own, and whoever wires a broker hands
// its methods out as observers and decorators.
//
//	policy engine ── Engine ──▶ evaluations, reasons
//	record ── Committed, Decided, Refused, Claimed, Moved ──▶ counters
//	agent of a site ── Site, Alerted ──▶ calls, alerts
//	scrape ── Watch ──▶ census of the record: queue, budgets, sites
//
// Two things must never break. No label holds an identifier or name of a job,
// permit, project or person (promise P12 reaches as far as a figure): labels are
// sites by the name their operator gave, states, outcomes, verdicts, kinds of
// errors and codes. And every label is bounded: a value beyond the bound counts
// as "other".
//
// A census that cannot be had sets valico_record_up to 0 and leaves its figures
// out; a scrape never fails for it and never waits longer than censusTimeout.
//
// Start with Metrics. The dashboard and the alert rules of deploy/grafana are
// held to the names here by a test.
package metrics
