package demo

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/deploy/lab"
)

// slurmSite is the lab's name as a site.
const slurmSite = "slurm"

// SlurmLab is the Slurm cluster of deploy/lab as the story's site: two persons
// with accounts of their own, GPUs that are emulated devices.
type SlurmLab struct {
	Lab  *lab.Lab
	Exec string // valico-exec of this machine; its nodes get a copy
	// Folder keeps several sites on one lab apart; "" for the only one.
	Folder string
}

// dir is what the lab's nodes see of this site.
func (l *SlurmLab) dir() string { return filepath.Join(l.Lab.Site, l.Folder) }

// SiteDir is the folder that the lab's nodes share.
func (l *SlurmLab) SiteDir() string { return filepath.Join(l.dir(), "site") }

// Site describes the lab and tells the broker how to reach its scheduler. It
// also returns where the dataset goes.
func (l *SlurmLab) Site(cfg *app.Config) (wire.Site, string, error) {
	execPath := l.execPath()
	if err := copyProgram(l.Exec, execPath); err != nil {
		return wire.Site{}, "", err
	}
	cfg.Slurm = map[string]app.SlurmConfig{slurmSite: {
		Conf: l.Lab.SlurmConf, Prefix: l.Lab.Prefix, Run: filepath.Join(l.dir(), "run"), SiteDir: l.SiteDir(),
		Partition: l.Lab.Partition, Account: l.Lab.Account, Exec: execPath,
	}}
	return wire.Site{
		Name: slurmSite, Country: "IT", Operator: "Example site operator", Scheduler: "slurm", Assurance: "advisory", Isolation: "userns",
		GPUs: []wire.GPUType{{Name: l.Lab.GPUType, PerNode: l.Lab.GPUsPerNode}}, MaxNodes: len(l.Lab.Nodes),
		CPUsPerNode: 8, MemoryMiB: 8192, MaxWallSeconds: 3600, KillMarginSeconds: 5,
		Accounts: map[string]string{string(Developer): developerAccount, string(Colleague): colleagueAccount},
	}, filepath.Join(l.dir(), "data", "cohort"), nil
}

// The persons' own accounts at a lab.
const (
	developerAccount = "labuser1"
	colleagueAccount = "labuser2"
)

// Cluster is a lab of deploy/lab as the story's site.
type Cluster interface {
	// Site describes the lab, tells the broker how to reach its scheduler and
	// says where the dataset goes.
	Site(cfg *app.Config) (wire.Site, string, error)
	// SiteDir is the folder that the lab's nodes share.
	SiteDir() string
	shared() string
	// launch prepares valico-exec on a node, as the developer's account.
	launch(ctx context.Context, args []string) *exec.Cmd
	// give hands a folder to the developer's account.
	give(dir string) error
	// accounting lists the lab's jobs with their accounts, and how that is asked.
	accounting(ctx context.Context) (asked, table string, err error)
}

var (
	_ Cluster = (*SlurmLab)(nil)
	_ Cluster = (*NomadLab)(nil)
)

// execPath is the launcher as the lab's nodes see it.
func (l *SlurmLab) execPath() string { return filepath.Join(l.dir(), "bin", "valico-exec") }

// launch prepares valico-exec on a node, as the developer's account.
func (l *SlurmLab) launch(ctx context.Context, args []string) *exec.Cmd {
	return l.Lab.Command(ctx, developerAccount, append([]string{l.execPath()}, args...)...)
}

// shared is a folder that the lab's nodes see.
func (l *SlurmLab) shared() string { return l.Lab.Site }

func (l *SlurmLab) give(dir string) error { return giveTo(dir, l.Lab.Users[developerAccount]) }

// giveTo hands a folder to an account.
func giveTo(dir string, uid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("give to account %d: %w", uid, err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	return fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, uid, uid)
	})
}

// accounting lists the cluster's jobs: number, owner, state and what was granted.
func (l *SlurmLab) accounting(ctx context.Context) (asked, table string, err error) {
	b, err := l.Lab.Command(ctx, "root", "sacct", "-X", "-a", "-o", "jobid,user,state,alloctres%60").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("read the accounting: %w: %s", err, b)
	}
	return "sacct -X -a -o jobid,user,state,alloctres", string(b), nil
}

func copyProgram(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // the nodes' accounts run it
		return fmt.Errorf("copy %s: %w", from, err)
	}
	src, err := os.Open(from) //nolint:gosec // our own launcher
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer src.Close()                                                      //nolint:errcheck // only read from
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755) //nolint:gosec // the nodes' accounts run it
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return dst.Close()
}
