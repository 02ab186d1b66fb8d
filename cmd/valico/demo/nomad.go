package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

// nomadSite is the lab's name as a site.
const nomadSite = "nomad"

// NomadLab is the Nomad agent of deploy/lab/nomad as the story's site: two
// persons with accounts and namespaces of their own, GPUs that a plugin emulates.
type NomadLab struct {
	Lab  *nomadlab.Lab
	Exec string // valico-exec of this machine; the node gets a copy
	Dir  string // a folder of the demo's own, for the agent's token
}

// NomadAccounts makes the two persons' accounts on this machine, unless they are
// there. It comes before the lab, whose node knows the accounts of its start.
func NomadAccounts(ctx context.Context) error {
	for _, name := range []string{developerAccount, colleagueAccount} {
		if _, err := user.Lookup(name); err == nil {
			continue
		}
		c := exec.CommandContext(ctx, "useradd", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", name) //nolint:gosec // fixed words
		if b, err := c.CombinedOutput(); err != nil {
			if _, lerr := user.Lookup(name); lerr == nil {
				continue // another lab was first
			}
			return fmt.Errorf("make the account %s: %w: %s", name, err, b)
		}
	}
	return nil
}

// SiteDir is the folder that the lab's node shares.
func (l *NomadLab) SiteDir() string { return filepath.Join(l.Lab.Site, "site") }

func (l *NomadLab) shared() string { return l.Lab.Site }

func (l *NomadLab) execPath() string { return filepath.Join(l.Lab.Site, "bin", "valico-exec") }

// Site describes the lab and tells the broker how to reach its scheduler. It
// also returns where the dataset goes.
func (l *NomadLab) Site(cfg *app.Config) (wire.Site, string, error) {
	if err := copyProgram(l.Exec, l.execPath()); err != nil {
		return wire.Site{}, "", err
	}
	secret, err := l.Lab.SiteToken(context.Background(), 0, l.Lab.Tenants...)
	if err != nil {
		return wire.Site{}, "", err
	}
	token := filepath.Join(l.Dir, "nomad.token")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		return wire.Site{}, "", fmt.Errorf("write the agent's token: %w", err)
	}
	cfg.Nomad = map[string]app.NomadConfig{nomadSite: {
		Address: l.Lab.Address, TokenFile: token, MHzPerCPU: 100, Exec: l.execPath(), SiteDir: l.SiteDir(),
		Namespaces: map[string]string{developerAccount: l.Lab.Tenants[0], colleagueAccount: l.Lab.Tenants[1]},
	}}
	return wire.Site{
		Name: nomadSite, Country: "IT", Operator: "Example site operator", Scheduler: "nomad", Assurance: "advisory", Isolation: "userns",
		GPUs: []wire.GPUType{{Name: l.Lab.GPUType, PerNode: l.Lab.GPUs}}, MaxNodes: 1,
		CPUsPerNode: 8, MemoryMiB: 8192, MaxWallSeconds: 3600, KillMarginSeconds: 5,
		Accounts: map[string]string{string(Developer): developerAccount, string(Colleague): colleagueAccount},
	}, filepath.Join(l.Lab.Site, "data", "cohort"), nil
}

// launch runs on this machine, which is the lab's node.
func (l *NomadLab) launch(ctx context.Context, args []string) *exec.Cmd {
	c := exec.CommandContext(ctx, l.execPath(), args...) //nolint:gosec // our own launcher
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin"}
	if uid, err := accountID(developerAccount); err != nil {
		c.Err = err
	} else {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}} //nolint:gosec // a number of the system's
	}
	return c
}

func (l *NomadLab) give(dir string) error {
	uid, err := accountID(developerAccount)
	if err != nil {
		return err
	}
	return giveTo(dir, uid)
}

func accountID(name string) (int, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("look up account: %w", err)
	}
	return strconv.Atoi(u.Uid)
}

// accounting lists the site's jobs: namespace, account, status and GPUs.
func (l *NomadLab) accounting(ctx context.Context) (asked, table string, err error) {
	q := func(ns string) *api.QueryOptions { return (&api.QueryOptions{Namespace: ns}).WithContext(ctx) }
	all, _, err := l.Lab.API.Allocations().List(q(api.AllNamespacesNamespace))
	if err != nil {
		return "", "", fmt.Errorf("list Nomad's allocations: %w", err)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAMESPACE\tUSER\tSTATUS\tGPUS")
	for _, stub := range all {
		a, _, err := l.Lab.API.Allocations().Info(stub.ID, q(stub.Namespace))
		if err != nil {
			return "", "", fmt.Errorf("read an allocation: %w", err)
		}
		gpus := 0
		for _, t := range a.AllocatedResources.Tasks {
			for _, d := range t.Devices {
				gpus += len(d.DeviceIDs)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", a.ID[:8], a.Namespace, a.Job.TaskGroups[0].Tasks[0].User, a.ClientStatus, gpus)
	}
	if err := w.Flush(); err != nil {
		return "", "", fmt.Errorf("list Nomad's allocations: %w", err)
	}
	return "nomad alloc status, of each allocation", b.String(), nil
}
