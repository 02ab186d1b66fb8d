//go:build integration

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab"
)

// cluster is the one Slurm lab of this test binary; it ends with the binary.
var cluster struct {
	once sync.Once
	lab  *lab.Lab
	err  error
}

func slurmLab(t *testing.T) *lab.Lab {
	t.Helper()
	cluster.once.Do(func() { cluster.lab, cluster.err = lab.Start(context.Background(), os.Stderr) })
	require.NoError(t, cluster.err)
	return cluster.lab
}

// tell runs the demo as a newcomer would: built with plain go build into a
// folder of its own, with no home, from another working directory.
func tell(t *testing.T, args ...string) demo.Report {
	t.Helper()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "github.com/valico-hpc/valico/cmd/valico", "github.com/valico-hpc/valico/cmd/valico-exec")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	c := newcomer(t, append([]string{filepath.Join(bin, "valico"), "demo", "--exit", "--json"}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(t, c.Run(), "%s\n%s", stdout.String(), stderr.String())
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	var r demo.Report
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r), "the last line is the JSON object")
	return r
}

// newcomer is a command in another folder, without a home.
func newcomer(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = "/"
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=", "GOCACHE=" + goCache(t)}
	return c
}

// goCache spares the demo a compilation of the standard library.
func goCache(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// holds checks the report against the story.
func holds(t *testing.T, r demo.Report, site string) {
	t.Helper()
	require.Equal(t, site, r.Site)
	require.Equal(t, "userns", r.Isolation)
	require.NotEmpty(t, r.Job)
	require.Equal(t, "succeeded", r.State)
	require.Len(t, r.Decisions, 2)
	require.Equal(t, "admission", r.Decisions[0].Kind)
	require.Equal(t, "clearance", r.Decisions[1].Kind)
	for _, d := range r.Decisions {
		require.Equal(t, "allow", d.Verdict)
	}
	require.Less(t, r.Decisions[0].LedgerIndex, r.Decisions[1].LedgerIndex)
	require.True(t, r.Image.Verified)
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, r.Image.Digest)
	require.Equal(t, 24, r.Telemetry.Metrics, "loss and accuracy of twelve epochs, each once")
	require.Greater(t, r.Telemetry.Events, r.Telemetry.Metrics)
	codes := map[string]string{}
	for _, n := range r.NotAdmitted {
		codes[n.Code] = n.Basis
		require.NotEqual(t, "in_force", n.Basis)
	}
	for _, need := range []string{"enforced_site", "mfa", "quarantine", "telemetry_budget", "airlock"} {
		require.Equal(t, "contract", codes["real_data_needs."+need], need)
	}
	require.Contains(t, codes, "purpose_not_permitted")
	require.Contains(t, codes, "dataset_not_permitted")
	require.Equal(t, []string{"image_tampered", "permit_expired", "wrong_site", "second_start"}, r.Refused)
	require.Len(t, r.Outputs, 2)
	for _, o := range r.Outputs {
		require.True(t, o.Released)
	}
}

func TestTheDemoTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	holds(t, tell(t), "local")
}

// Where unprivileged user namespaces are off the story still holds, on synthetic
// data, and says so where nobody overlooks it.
func TestTheDemoSaysWhenThereIsNoIsolation(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+"/", "github.com/valico-hpc/valico/cmd/valico", "github.com/valico-hpc/valico/cmd/valico-exec").CombinedOutput()
	require.NoError(t, err, "%s", out)
	const off = `echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"`
	c := newcomer(t, "unshare", "--user", "--map-root-user", "sh", "-c", off, "sh", filepath.Join(bin, "valico"), "demo", "--exit")
	out, err = c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "jobs run WITHOUT isolation")
	require.Contains(t, string(out), "isolation none")
}

// The same on real Slurm, and P12: nothing that reached Slurm names permit,
// dataset, purpose, project, tenant or person.
func TestTheDemoOnSlurmTellsSlurmNothing(t *testing.T) {
	t.Parallel()
	l := slurmLab(t)
	r := tell(t, "--site", "slurm", "--lab", l.Dir)
	holds(t, r, "slurm")

	var seen strings.Builder
	for _, argv := range [][]string{
		{"scontrol", "show", "job", "-dd"},
		{"sacct", "-a", "-p", "-o", "ALL"},
		{"sacct", "-a", "--json"},
		{"squeue", "-a", "-t", "all", "--json"},
	} {
		out, err := l.Command(t.Context(), "root", argv...).CombinedOutput()
		require.NoError(t, err, "%v: %s", argv, out)
		seen.Write(out)
	}
	ids, err := l.Command(t.Context(), "root", "sacct", "-a", "-n", "-X", "-o", "jobid").Output()
	require.NoError(t, err)
	for id := range strings.FieldsSeq(string(ids)) {
		for _, argv := range [][]string{{"sacct", "-j", id, "--batch-script"}, {"sacct", "-j", id, "--env-vars"}} {
			out, err := l.Command(t.Context(), "root", argv...).CombinedOutput()
			require.NoError(t, err, "%v: %s", argv, out)
			seen.Write(out)
		}
	}
	require.NoError(t, filepath.WalkDir(l.Logs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		seen.Write(b)
		return err
	}))
	said := strings.ToLower(seen.String())
	require.Contains(t, said, "labuser1", "the search looked at the jobs")
	const id = `_[0-9a-z]{26}` // of a tenant, a project, a job
	for _, word := range []string{
		"sandbox", "data\\.example", "synthetic", "screening", `53\(1\)`, "biotech", "ada@", "ben@", "cohort", "trainer",
		"ten" + id, "prj" + id, "job" + id, "dec" + id, "ord" + id,
	} {
		at := regexp.MustCompile(word).FindStringIndex(said)
		if at != nil {
			t.Errorf("P12: %q reached Slurm: …%s…", word, said[max(0, at[0]-200):min(len(said), at[1]+100)])
		}
	}
}

// P1 and P4 on Slurm: ten runs, each with a step drawn from a seed.
func TestKillNineOnSlurm(t *testing.T) {
	t.Parallel()
	l := slurmLab(t)
	bin := brokertest.Programs(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	slots := make(chan struct{}, 3)
	for i := range 10 {
		point, launcherPoint := brokerPoints[rng.IntN(len(brokerPoints))], ""
		if i%3 == 2 {
			point, launcherPoint = "", execPoints[rng.IntN(len(execPoints))]
		}
		t.Run(fmt.Sprintf("%02d_%s_%s", i, point, launcherPoint), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			site := &demo.SlurmLab{Lab: l, Exec: filepath.Join(bin, "valico-exec"), Folder: fmt.Sprintf("k%d", i)}
			want := []string{"succeeded"}
			if launcherPoint != "" {
				want = []string{"failed"}
				if launcherPoint == "outcome_written" {
					want = []string{"succeeded"}
				}
			}
			r := newRun(t, "", site)
			if launcherPoint != "" {
				node := filepath.Join(l.Site, site.Folder, "bin")
				require.NoError(t, os.Rename(filepath.Join(node, "valico-exec"), filepath.Join(node, "real")))
				wrapper(t, node, filepath.Join(node, "real"), launcherPoint)
			}
			r.prepare()
			r.Start(point)
			r.truth(r.ended(fmt.Sprintf("kill-slurm-%d", i), brokertest.Job{}), want...)
			r.Stop()
		})
	}
}
