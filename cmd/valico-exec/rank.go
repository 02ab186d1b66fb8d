package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/broker"
)

// codeRank is of a launcher that the scheduler started on other nodes than the
// order says.
const codeRank = "rank_unknown"

// rank is the number of this launcher's node among the job's, from 0, as the
// scheduler numbers them.
func (e env) rank() (int, error) {
	s := e.getenv("SLURM_NODEID")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || strconv.Itoa(n) != s {
		return 0, failed(codeRank, "the scheduler does not say which of the job's nodes this is", fmt.Errorf("SLURM_NODEID is %q", s))
	}
	return n, nil
}

// checkRank holds what the scheduler says of the nodes to the order. On several
// nodes there is one launcher in a step on each; that none of them starts twice is
// the mark's to hold.
func (e env) checkRank(n int, r broker.Resources) error {
	if r.Nodes == 1 && n == 0 {
		return nil
	}
	if have := e.getenv("SLURM_STEP_NUM_NODES"); r.Nodes == 1 || n >= r.Nodes || have != strconv.Itoa(r.Nodes) {
		return failed(codeRank, "the job's nodes are not those of the order",
			fmt.Errorf("node %d of %q, the order has %d", n, have, r.Nodes))
	}
	return nil
}

// rendezvous is what the ranks of a job need to find each other, in the words
// that torchrun and most others read. Nothing of it was told to the scheduler: the
// address is its own word for the first node, the port comes from the order, and
// the secret lies in the attempt's folder.
func (l *launcher) rendezvous() ([]string, error) {
	o := l.order.Order
	if o.Limits.Nodes == 1 {
		return nil, nil
	}
	n, of := strconv.Itoa(l.attempt.rank), strconv.Itoa(o.Limits.Nodes)
	env := []string{"NODE_RANK=" + n, "NNODES=" + of, "RANK=" + n, "WORLD_SIZE=" + of, "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=1"}
	if o.Network != "job" {
		return env, nil
	}
	addr, err := netip.ParseAddr(l.getenv("SLURM_LAUNCH_NODE_IPADDR"))
	if err != nil {
		return nil, failed(codeRank, "the scheduler does not give the address of the first node", err)
	}
	secret, err := os.ReadFile(filepath.Join(l.attempt.dir, layout.Secret))
	if err != nil || len(secret) != layout.SecretBytes {
		return nil, failed(codeRank, "the ranks' secret cannot be read", errors.Join(errors.New("it has 64 digits"), err))
	}
	return append(env, "MASTER_ADDR="+addr.String(), "MASTER_PORT="+masterPort(l.order.Digest), "VALICO_JOB_SECRET="+string(secret)), nil
}

// masterPort is a port below those that kernels give out by themselves. Attempts
// on one node seldom have the same one.
func masterPort(order broker.Digest) string {
	n, err := strconv.ParseUint(order.Hex()[:8], 16, 32)
	if err != nil {
		n = 0 // a digest has digits
	}
	return strconv.FormatUint(20_000+n%10_000, 10)
}
