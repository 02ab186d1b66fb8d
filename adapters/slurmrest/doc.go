// Package slurmrest lets an agent run its launches on a Slurm cluster through
// slurmrestd. It satisfies the port agent.Scheduler.
//
//	Submit ─▶ account mapped? ─▶ its slurmrestd ─▶ known by owner + name + order digest? ─yes─▶ check the grant
//	                                              └no─▶ submit (singleton, no requeue) ─▶ read back, check the grant
//	Watch  ─▶ per account: one list of states ─▶ details only of what changed
//
// Identity. For every mapped account the adapter starts one slurmrestd under
// that account's uid, on a unix socket in a folder that only this account and
// root may enter (slurmrestd makes its socket 0777 and also obeys root, so the
// folder is the gate). No token and no key exists. Where a site runs slurmrestd
// itself, over https or on this machine, the site's own command gives an account's
// token, or the person brings it in a file (token.go); one that is not for exactly
// that account is never sent. Root, system accounts and
// accounts that are not mapped are refused; nothing is ever submitted as root.
// The account owns its folder and could put another socket there, so the
// listener's uid is read from each connection before anything is sent, and what
// an account's slurmrestd says is believed for that account's launches only.
//
// At most once. A name is marked before its request is sent. After an answer
// that was lost, Submit searches slurmctld and slurmdbd for owner, name and order
// digest, and sends again only when the request can no longer be on its way.
// What this process never sent is looked for once, when an account is first
// used. Should a duplicate slip through all the same, it carries the dependency
// singleton and so waits for the first, and valico-exec refuses a second start.
//
// Nothing that reaches Slurm names a permit, dataset, project or person: an
// opaque name, the digest of the order as comment, a script that only executes
// the launch's argv, and an environment of PATH and what the launch brings.
//
// A launch on several nodes is one batch script whose only command is a step with
// one task on each node; srun is looked for in the PATH of the node.
//
// A job that was granted other GPUs than asked for is cancelled and refused. A
// pending job that can never start is cancelled and then reported as ended. A job
// that was put back into the queue is cancelled, too: preempted, and started once.
// One that Slurm took off its node before its program ran, as when a prolog
// refuses it, failed to launch. An
// answer that cannot be had is KindUnavailable; a state that we do not know is
// SchedulerUnknown and watched on.
//
// Why a job waits, and whether a wait can end it, is one table (waiting.go). The
// API version is agreed on with each slurmrestd or configured. A refused
// credential (slurm_credential), what the account may not do (slurm_forbidden),
// no common version (slurm_version) and an outage (scheduler_unavailable) are
// told apart. Probe measures what the settings name and submits nothing.
//
// It decides nothing about orders, permits or outputs. Start at slurmrest.go,
// then submit.go and daemon.go. The contract suite of package adaptertest runs
// on it against a real Slurm under the build tag integration.
package slurmrest
