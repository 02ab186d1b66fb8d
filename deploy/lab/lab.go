package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// Lab is a running cluster, as up describes it in env.json.
type Lab struct {
	Version     string         `json:"version"` // Slurm's, such as "24.11.5"
	Dir         string         `json:"dir"`     // everything of the lab; the same path inside and outside
	Site        string         `json:"site"`    // an empty folder for a site, owned by Service
	Logs        string         `json:"logs"`
	SlurmConf   string         `json:"slurm_conf"`
	NSPID       int            `json:"ns_pid"`
	Prefix      []string       `json:"prefix"` // put before a command, runs it inside
	BasePort    int            `json:"base_port"`
	Nodes       []string       `json:"nodes"`
	GPUType     string         `json:"gpu_type"`
	GPUsPerNode int            `json:"gpus_per_node"`
	Partition   string         `json:"partition"`
	Account     string         `json:"account"` // Slurm's accounting account
	Users       map[string]int `json:"users"`   // persons' accounts with their uids
	Service     struct {
		Name string `json:"name"`
		UID  int    `json:"uid"`
	} `json:"service"` // the site's own account
}

// Start brings a cluster up and returns when all its nodes are idle: some
// seconds, and some minutes the first time on a machine. Progress is written to
// log. The lab ends with Stop, or when this process does.
func Start(ctx context.Context, log io.Writer) (*Lab, error) {
	dir, err := scripts()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "up")) //nolint:gosec // a script of this folder
	cmd.Env = append(os.Environ(), "LAB=", "LAB_HOLDER="+strconv.Itoa(os.Getpid()))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("start the Slurm lab: %w", err)
	}
	return Open(strings.TrimSpace(out.String()))
}

// Open reads a lab that is up.
func Open(dir string) (*Lab, error) {
	b, err := os.ReadFile(filepath.Join(dir, "env.json")) //nolint:gosec // named by whoever started the lab
	if err != nil {
		return nil, fmt.Errorf("open the Slurm lab: %w", err)
	}
	var l Lab
	if err := json.Unmarshal(b, &l, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("open the Slurm lab: %w", err)
	}
	return &l, nil
}

// Stop cancels every job, ends every process of the lab and removes its folder.
func (l *Lab) Stop(ctx context.Context) error {
	dir, err := scripts()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "down")) //nolint:gosec // a script of this folder
	cmd.Env = append(os.Environ(), "LAB="+l.Dir, "WIPE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("stop the Slurm lab: %w: %s", err, out)
	}
	return nil
}

// Command returns a command that runs inside the lab as a user, in / and with
// nothing but PATH and SLURM_CONF in its environment.
func (l *Lab) Command(ctx context.Context, user string, argv ...string) *exec.Cmd {
	args := append([]string{}, l.Prefix...)
	if user != "root" {
		args = append(args, "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all")
	}
	args = append(args, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SLURM_CONF="+l.SlurmConf)
	args = append(args, argv...)
	return exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // a test's own command
}

// scripts finds this folder: beside this source file, or below the module that
// the working directory is in.
func scripts() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if dir := filepath.Dir(file); isFile(filepath.Join(dir, "up")) {
			return dir, nil
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the lab's scripts: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if isFile(filepath.Join(dir, "go.mod")) && isFile(filepath.Join(dir, "deploy", "lab", "up")) {
			return filepath.Join(dir, "deploy", "lab"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the lab's scripts: not inside the source tree")
		}
	}
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}
