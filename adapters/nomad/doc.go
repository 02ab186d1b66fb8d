// Package nomad lets an agent run its launches on a Nomad cluster, through
// HashiCorp's own API client. It satisfies the port agent.Scheduler.
//
//	Submit ─▶ account mapped? ─▶ register in its namespace, create-only ─▶ read the job of that id ─ours─▶ compare with what was asked for
//	                                                                                               └else─▶ refuse: the name is taken
//	Watch  ─▶ jobs, evaluations, allocations: one list each ─▶ state ─▶ end what may not go on
//
// At most once. The job's id is the launch's name and a registration enforces
// index 0, so a repeated or late request finds the first. A job of that id with
// another order's digest or another account is a stranger's. Restarts and
// reschedules are 0, and read back. Nomad replaces an allocation that was lost,
// preempted, drained or stopped all the same, and an operator may restart a task
// where it is: the oldest allocation is the launch, and the job is ended as soon
// as a second start could come. valico-exec refuses a second start.
//
// Tenants. A launch names none. The site's configuration gives each account a
// namespace, one for each tenant, by names that say nothing; the token may use
// those. A launch that lies in another namespace, since its account was given a
// new one, is ended and refused. A list is over all of them at once.
//
// Identity. One template makes every job: batch, one task, task.user from
// Launch.Account and only from accounts that the site maps, the launch's argv,
// and an environment of PATH and what the launch brings. Nothing names a permit,
// dataset, project or person: an opaque name and the digest of the order. What
// Nomad would replace in a string is refused. Nomad collects no output.
//
// Truth is the lists, and two blocking queries that say whether they still hold:
// while both stand a Watch asks nothing. Where others move what they look at, the
// event stream's silence is believed for a while; without either every Watch
// lists. Nomad has no time limits: valico-exec keeps its
// own, and Watch ends a launch one margin later. A launch that waits for GPUs
// which no healthy node has is evaluated again now and then, since Nomad does
// not notice that they healed.
//
// Nothing is purged, so outcome and usage can be read until Nomad's own
// collection, and a stopped name cannot start again. A job that lost its GPUs is
// ended and refused. An answer that cannot be had is KindUnavailable, with a code
// of its own for a token that is not accepted; a word that is not known is
// SchedulerUnknown, counted and watched on. No request and no answer is longer than
// its bound, compressed or not.
//
// A launch has one node: Nomad places the parts of a job one by one, never all or
// none. A Nomad site therefore says max_nodes 1 and admission refuses the rest.
//
// Probe measures a site for its operator and starts nothing.
//
// It decides nothing about orders, permits or outputs. Start at nomad.go, then
// job.go, submit.go and state.go. The contract suite of package adaptertest runs
// on it against a real agent of deploy/lab/nomad under the build tag integration.
package nomad
