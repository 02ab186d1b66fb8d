// Package layout names what lies where in a site's folder, for the agent that
// puts it there and the launcher that finds it on the node. It knows paths and
// nothing else, and touches no file.
//
//	attempts/<attempt>/  order.json trust.json out/ and, per rank, start spool root/
//	ckpt/<job>/          owner.json, the agent's; data/, which is /ckpt, the account's
//
// Rank 0 has the plain names, rank n the same with ".n" behind: an attempt on one
// node looks as it did before there were several. Its invariant is that two ranks
// share no name but out/.
package layout

import (
	"path/filepath"
	"strconv"

	"github.com/valico-hpc/valico/broker"
)

// Secret is the file that lets the ranks of one attempt know each other: so many
// hexadecimal digits.
const (
	Secret      = "secret"
	SecretBytes = 64
)

// Mark is the start mark of a rank.
func Mark(attempt string, rank int) string { return ranked(attempt, "start", rank) }

// Spool is the spool of a rank.
func Spool(attempt string, rank int) string { return ranked(attempt, "spool", rank) }

// Root is where a rank's image is unpacked.
func Root(attempt string, rank int) string { return ranked(attempt, "root", rank) }

func ranked(attempt, name string, rank int) string {
	if rank > 0 {
		name += "." + strconv.Itoa(rank)
	}
	return filepath.Join(attempt, name)
}

// Ckpt is the folder of a job's checkpoints.
func Ckpt(site string, job broker.JobID) string { return filepath.Join(site, "ckpt", string(job)) }

// CkptData is what the job sees as /ckpt.
func CkptData(site string, job broker.JobID) string { return filepath.Join(Ckpt(site, job), "data") }
