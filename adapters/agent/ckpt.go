package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/adapters/agent/layout"
	"github.com/valico-hpc/valico/broker"
)

// ckptOwner says whose checkpoints lie in a folder. It is the agent's own file,
// and an order finds the folder only if all of it agrees: a broker whose key was
// stolen cannot show one job's checkpoints to another's code, person or account.
type ckptOwner struct {
	V         int              `json:"v"`
	Tenant    broker.TenantID  `json:"tenant"`
	Job       broker.JobID     `json:"job"`
	Submitter broker.PersonID  `json:"submitter"`
	Account   string           `json:"account"`
	Spec      broker.Digest    `json:"spec"`
	Image     broker.Digest    `json:"image"`
	Site      broker.SiteID    `json:"site"`
	Resume    ckptOwnerSegment `json:"resume"`
}

type ckptOwnerSegment struct {
	MaxSegments int `json:"max_segments"`
}

const ckptOwnerFile = "owner.json"

// stageCkpt makes the folder of a job's checkpoints for its first segment and
// finds it for the others. A segment whose folder is gone does not begin anew.
func (a *Agent) stageCkpt(r record, o broker.WorkOrder) error {
	if !o.Resume.Set() {
		return nil
	}
	want, err := json.Marshal(ckptOwner{
		V: 1, Tenant: o.Tenant, Job: o.Job, Submitter: o.Submitter, Account: o.Account, Spec: o.Spec, Image: o.Image, Site: o.Site,
		Resume: ckptOwnerSegment{MaxSegments: o.Resume.MaxSegments},
	})
	if err != nil {
		return fmt.Errorf("stage checkpoints: %w", err)
	}
	uid, gid, err := a.cfg.Accounts(r.Account)
	if err != nil {
		return ckptRefused("ckpt_of_another", r.Account, err)
	}
	dir := layout.Ckpt(a.cfg.Dir, o.Job)
	have, err := os.ReadFile(filepath.Join(dir, ckptOwnerFile)) //nolint:gosec // the agent's own folder
	switch {
	case err == nil:
		if !bytes.Equal(have, want) {
			return ckptRefused("ckpt_of_another", string(o.Job), errors.New("owner.json says another job, person, account or image"))
		}
		return a.ckptData(dir, uid)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("stage checkpoints: %w", err)
	case o.Segment > 1:
		return ckptRefused("ckpt_gone", string(o.Job), err)
	}
	return a.makeCkpt(dir, want, uid, gid)
}

// ckptData looks whether the folder is the account's still, and marks it as used.
func (a *Agent) ckptData(dir string, uid int) error {
	fi, err := os.Lstat(filepath.Join(dir, "data"))
	if err != nil {
		return fmt.Errorf("stage checkpoints: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.IsDir() || !ok || int(st.Uid) != uid {
		return ckptRefused("ckpt_of_another", filepath.Base(dir), errors.New("the folder belongs to another account"))
	}
	return a.usedCkpt(dir)
}

func (a *Agent) usedCkpt(dir string) error {
	if err := os.Chtimes(dir, a.now(), a.now()); err != nil {
		return fmt.Errorf("mark checkpoints as used: %w", err)
	}
	return nil
}

// makeCkpt makes the folder beside its place and renames it whole. Other accounts
// pass through it if they know the job, and reach nothing.
func (a *Agent) makeCkpt(dir string, owner []byte, uid, gid int) error {
	parent := filepath.Dir(dir)
	tmp, err := os.MkdirTemp(parent, tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("stage checkpoints: %w", err)
	}
	data := filepath.Join(tmp, "data")
	err = writeFile(filepath.Join(tmp, ckptOwnerFile), owner, 0o400)
	if err == nil {
		err = os.Mkdir(data, 0o700)
	}
	if err == nil && uid != os.Geteuid() {
		err = os.Lchown(data, uid, gid)
	}
	if err == nil {
		err = os.Chmod(tmp, 0o711) //nolint:gosec // passed through, not listed
	}
	if err == nil {
		err = errors.Join(a.usedCkpt(tmp), syncDir(tmp), os.Rename(tmp, dir))
	}
	if err != nil {
		return fmt.Errorf("stage checkpoints: %w", errors.Join(err, removeTree(tmp)))
	}
	return syncDir(parent)
}

// leaveCkpt removes the checkpoints of a job that succeeded; the others stay for
// a next segment, and for people who ask why there is none.
func (a *Agent) leaveCkpt(ctx context.Context, r record) {
	if r.Segments == 0 {
		return
	}
	dir := layout.Ckpt(a.cfg.Dir, r.Job)
	var err error
	if r.Outcome == broker.OutcomeOK {
		err = removeCkpt(dir)
	} else if err = a.usedCkpt(dir); errors.Is(err, fs.ErrNotExist) {
		err = nil // it ended before it was staged
	}
	if err != nil {
		a.cfg.Log.WarnContext(ctx, "leave a job's checkpoints", "job_id", r.Job, "error", err)
	}
}

// removeCkpt takes the folder out of its place at once: nothing finds half of it.
func removeCkpt(dir string) error {
	old := filepath.Join(filepath.Dir(dir), tempPrefix+filepath.Base(dir))
	err := os.Rename(dir, old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove checkpoints: %w", err)
	}
	return removeTree(old)
}

// sweepCkpts removes the checkpoints of jobs of which nothing is under way and
// nothing was for Config.CkptKeep. It runs in the one goroutine of passes.
func (a *Agent) sweepCkpts(ctx context.Context) {
	now := a.now()
	parent := filepath.Join(a.cfg.Dir, "ckpt")
	entries, err := os.ReadDir(parent)
	if err != nil {
		a.cfg.Log.WarnContext(ctx, "look for old checkpoints", "error", err)
		return
	}
	live := a.liveJobs()
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || live[broker.JobID(e.Name())] || strings.HasPrefix(e.Name(), tempPrefix) || now.Sub(fi.ModTime()) < a.cfg.CkptKeep {
			continue
		}
		if err := removeCkpt(filepath.Join(parent, e.Name())); err != nil {
			a.cfg.Log.WarnContext(ctx, "remove old checkpoints", "job_id", e.Name(), "error", err)
		}
	}
}

func (a *Agent) liveJobs() map[broker.JobID]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	live := map[broker.JobID]bool{}
	for _, e := range a.entries {
		r, _ := e.snapshot()
		live[r.Job] = true
	}
	return live
}

func ckptRefused(code, value string, err error) error {
	e := &broker.Error{
		Kind: broker.KindForbidden, Code: code, Message: "the job's checkpoints are another's", Value: value, Err: err,
		Rule: "checkpoints are for the segments of one job alone: same person, account, job spec and image",
		Help: "submit the job again; it begins anew", Who: "the submitter",
	}
	if code == "ckpt_gone" {
		e.Message, e.Rule = "the job's checkpoints are no longer at the site", "a segment after the first goes on from what the one before left"
	}
	return e
}

// secret lets the ranks of one attempt know each other.
func secret() string {
	var b [layout.SecretBytes / 2]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error
	return hex.EncodeToString(b[:])
}
