// Command valico-exec is the launcher on the node: it starts one attempt of
// one work order, once, shut in, and writes down how it ended.
//
// It reaches no network, scheduler or policy engine, and believes nobody: the
// order, which the agent verified before, is verified again here with the keys
// that the site pinned, as the account that it runs as.
//
//	order.json ─ verify ─▶ start (O_EXCL) ─▶ spool: started ─▶ unpack, every digest
//	     │ refused                                                │ image_tampered
//	     ▼                                                        ▼
//	spool: outcome launch_failed          sandbox ─ lines, metrics ─▶ spool ─▶ outcome
//
// Two invariants must never break: nothing of the image runs before the order
// verified and the start mark is on the disk, and an attempt that has a start
// mark is never started again. Whatever happens the last record of a spool is
// an outcome; a spool without one and without a process means that the outcome
// is lost.
//
// The exit status is the workload's; 64 for a usage error, 70 when the node
// failed, 77 when the order was refused, with the reason as JSON on stderr.
// A job that resumes finds /ckpt, and its first process gets the order's signal so
// long before the walltime as the order says, and when the launcher is asked to end;
// TERM follows half of the kill margin later. A scheduler that signals each process
// itself sends TERM at once: such a job has to bear both. Exit status 85 then means
// that the checkpoint is written and there is more to do. Checkpoints that grow
// beyond --ckpt-max end the job (ckpt_full): the size is looked at every 2 s and at
// the end, so a fast writer can pass it for that long.
//
// On several nodes the scheduler starts one launcher on each. It takes the number
// of its node from SLURM_NODEID and holds the number of nodes to the order; each
// rank has a mark, a spool and a root of its own. The workload finds RANK,
// WORLD_SIZE, NODE_RANK, NNODES, LOCAL_RANK and LOCAL_WORLD_SIZE, and under network
// job MASTER_ADDR, MASTER_PORT and VALICO_JOB_SECRET, 64 digits that only the
// attempt's ranks have. With that network the ranks share their nodes' network with
// whoever else is on it: what keeps others out of it is the site's, what keeps them
// out of the ring is the secret.
//
// TERM, INT and HUP end the workload with TERM, then KILL after the margin, as
// does the end of the order's walltime.
//
// Start at run.go. The tests build this program, run it on real orders and
// images, break one thing at a time, and kill it at every point of killpoint_on.go,
// which no production build contains.
package main
