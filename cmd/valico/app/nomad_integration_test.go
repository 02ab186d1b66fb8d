//go:build integration

package app_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

// nomadAccount is one that every machine has, and a person's by its number.
const nomadAccount = "nobody"

// nomadWorld is the story's world at a site that runs a real Nomad agent.
func nomadWorld(t *testing.T) (*world, *nomadlab.Lab) {
	t.Helper()
	lab, err := nomadlab.Start(t.Context(), os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, lab.Stop()) })
	secret, err := lab.Token(t.Context(), lab.Namespace, 0)
	require.NoError(t, err)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(secret), 0o600))
	execPath, _ := binaries(t)
	onNodes := filepath.Join(lab.Site, "bin", "valico-exec")
	b, err := os.ReadFile(execPath)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Dir(onNodes), 0o755))
	require.NoError(t, os.WriteFile(onNodes, b, 0o755))
	site := wire.Site{
		Name: "nomad", Country: "IT", Operator: "Example site operator", Scheduler: "nomad", Assurance: "advisory", Isolation: "userns",
		GPUs: []wire.GPUType{{Name: lab.GPUType, PerNode: lab.GPUs}}, MaxNodes: 1, CPUsPerNode: 8, MemoryMiB: 8192,
		MaxWallSeconds: 3600, KillMarginSeconds: 5, Accounts: map[string]string{string(demo.Developer): nomadAccount},
	}
	w := setupSite(t, site, filepath.Join(lab.Site, "data", "cohort"), func(c *app.Config) {
		c.Nomad = map[string]app.NomadConfig{"nomad": {
			Address: lab.Address, TokenFile: token, Namespace: lab.Namespace, MHzPerCPU: 100, Exec: onNodes, SiteDir: filepath.Join(lab.Site, "site"),
		}}
	})
	return w, lab
}

// The way of a job from end to end on Nomad, and P12: nothing that reached Nomad
// names permit, dataset, purpose, project, tenant or person.
func TestAPermitBecomesATrainingRunOnNomadThatTellsNomadNothing(t *testing.T) {
	t.Parallel()
	w, lab := nomadWorld(t)
	ada, ctx := w.Client(demo.Developer), t.Context()
	j := w.job()
	j.Site, j.GPUs, j.GPUType = "nomad", 2, lab.GPUType
	job, err := w.submit(demo.Developer, j)
	require.NoError(t, err)
	job = w.ended(demo.Developer, job.ID)
	require.Equal(t, "succeeded", job.State, "%+v", job.Attempts)
	require.Positive(t, job.Attempts[0].GPUSeconds)
	require.Zero(t, job.Attempts[0].GPUSeconds%2, "two GPUs, by what Nomad granted")

	metrics := 0
	require.NoError(t, ada.Follow(ctx, job.ID, 0, func(e wire.Event) error {
		if e.Kind == broker.EventMetric && e.Name == "loss" {
			metrics++
		}
		return nil
	}, nil))
	require.Equal(t, 3, metrics, "each epoch reported its loss once")

	outputs, err := ada.Outputs(ctx, job.ID)
	require.NoError(t, err)
	require.Len(t, outputs.Outputs, 1)
	sealed := outputs.Outputs[0]
	env, err := w.Authority.SignRelease(broker.AttemptID(sealed.Attempt), broker.Digest(sealed.Manifest), time.Now())
	require.NoError(t, err)
	_, err = w.Client(demo.Reviewer).Release(ctx, job.ID, env)
	require.NoError(t, err)
	r, err := ada.Fetch(ctx, job.ID, sealed.Files[0].Path, broker.Digest(sealed.Files[0].Digest))
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, sealed.Files[0].Digest, string(broker.DigestOf(b)))

	long := w.job()
	long.Site, long.Epochs, long.Pace = "nomad", 1000, 100*time.Millisecond
	second, err := w.submit(demo.Developer, long)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got, err := ada.Job(ctx, second.ID)
		return err == nil && len(got.Attempts) == 1 && got.Attempts[0].State == "running"
	}, time.Minute, 20*time.Millisecond)
	_, err = ada.Cancel(ctx, second.ID)
	require.NoError(t, err)
	require.Equal(t, "cancelled", w.ended(demo.Developer, second.ID).State)
	toldNothing(t, lab)
}

// The operator reads what was measured at the site, each with what to do, and a
// site of several nodes for one job is refused when it is added, not at a launch.
func TestANomadSiteIsMeasuredAndHasOneNodeForAJob(t *testing.T) {
	t.Parallel()
	w, lab := nomadWorld(t)
	op := w.Client(demo.OperatorID)
	got, err := op.CheckSite(t.Context(), "nomad")
	require.NoError(t, err)
	checks := map[string]wire.Check{}
	for _, c := range got.Checks {
		checks[c.Name] = c
	}
	require.True(t, checks["nomad_token"].OK, "%+v", checks["nomad_token"])
	require.True(t, checks["nomad_namespace "+lab.Namespace].OK, "%+v", checks)
	require.True(t, checks["nomad_lists"].OK)
	require.True(t, checks["nomad_one_node"].OK)
	require.False(t, checks["nomad_nodes"].OK, "the token of this world may not read nodes")
	require.Contains(t, checks["nomad_nodes"].Help, `node { policy = "read" }`)

	second := w.Site
	second.ID, second.CreatedAt, second.Account, second.Name, second.MaxNodes = "", nil, "", "wide", 2
	_, err = op.AddSite(t.Context(), wire.SiteAdd{Site: second})
	require.Equal(t, "site_nodes", broker.CodeOf(err), "%v", err)
}

// toldNothing searches all that the agent stores, and its log.
func toldNothing(t *testing.T, lab *nomadlab.Lab) {
	t.Helper()
	allocs, said, err := lab.Kept(t.Context())
	require.NoError(t, err)
	require.Len(t, allocs, 2, "two jobs, each started once")
	require.NotEqual(t, allocs[0].JobID, allocs[1].JobID)
	for _, a := range allocs {
		require.Equal(t, nomadAccount, a.Job.TaskGroups[0].Tasks[0].User)
	}
	brokertest.NamesNothing(t, said)
}
