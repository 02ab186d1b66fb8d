// Package sandbox runs one command of an unpacked image, shut in on a node
// without root: Run, and Available, which measures whether that works here.
//
// It knows nothing of orders, permits, jobs or spools, and opens no network.
// The calling program's main must call MaybeInit before anything else, because
// the package runs that program again as its own helper:
//
//	launcher (Run) ── clone: user+mount+pid+net+ipc+uts ──▶ setup
//	   │  memfd: what to run   control: TERM, lifeline        │ lo up, mounts,
//	   │  status: started, ended, what went wrong             │ drop every capability, exec itself
//	   ◀───────────────────────────────────────────────── supervisor, pid 1: new root
//	                                                          └─ workload: fds 0, 1, 2 and 3 (metrics)
//
// Nothing that the workload must not see travels in argv or the environment.
//
// With IsolationUserNS the workload finds: its root read-only; /data and other
// mounts as asked, bound without what is mounted below them; /out, HOME
// (/home/job), /tmp and /dev/shm writable and nothing else; /proc of its own
// processes, read-only; /dev with null, zero, full, random, urandom; a network
// with nothing but its own loopback, and no family of sockets that does not
// know of namespaces; one user, which is the caller's; no capabilities in any
// set, no_new_privs, no further user namespaces, no core dumps, no inherited
// files. VALICO_DATA=/data and VALICO_OUT=/out are set; where the caller gives a
// folder for it, /ckpt is writable too and VALICO_CKPT=/ckpt. Signals that the
// caller sends reach the command's first process alone.
//
// With Spec.NodeNetwork the workload has the network of the node instead: every
// address that the node reaches, and the abstract sockets of its processes. Only
// what is outside can keep the ranks of one job among themselves then.
//
// With IsolationNone nothing is shut in: the program argv[0] is looked up inside
// Root and started with the working folder Root/WorkDir, as an ordinary process
// of the account, with the host's files, network and loader. HOME and TMPDIR
// are in a scratch folder that is removed afterwards; VALICO_DATA is a folder
// with one link per mount, named by the last element of its target, and
// VALICO_OUT the real path of Out. A program that uses these two
// variables runs under both isolations. Absolute paths inside the image (an
// interpreter line, a dynamic loader) mean the host's files, so only static
// programs can be expected to work.
//
// What other users of the node see, from outside and whatever the sandbox does,
// unless the node's /proc is mounted with hidepid (Visible measures it): that a
// process of the account runs, since when and how much it uses; the command line
// of the workload and of everything it starts; and in its mountinfo where each
// mount comes from and goes to, so the path of a dataset at the site and the name
// that the job gave it. What must not be known does not belong there. They do not
// see its environment, memory, open files, root or working folder, which the
// kernel shows to the account and to root alone. (Measured on Linux 6.18.)
//
// Two invariants must never break: a workload starts only if every step of
// the set-up succeeded, and none outlives its launcher. Failure of a step is a
// *SetupError that names it; nothing has run then.
//
// Limits: the program file itself must be readable to the account; a root that
// lies on the kernel's initial file system (a diskless node booted into its
// initramfs) cannot be left by pivot_root; a folder with locked mounts below
// it cannot be bound; the filter of system calls is written for amd64 and
// arm64; an image that has a link where something is mounted is refused. Each
// fails closed, and Available gives the reason where it lies in the node.
// Memory is not bounded here but for the writable file systems: that is the
// scheduler's cgroup, whose count of kills Result.OOM reads. GPU devices are
// not shown yet.
//
// Start reading at sandbox.go, then run.go, setup.go, mount.go,
// pivot.go and supervise.go. The tests run this test binary inside as a probe, as root and
// as an ordinary user.
package sandbox
