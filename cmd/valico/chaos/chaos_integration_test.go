//go:build integration

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/brokertest"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/deploy/lab"
	"github.com/valico-hpc/valico/deploy/lab/faultproxy"
	nomadlab "github.com/valico-hpc/valico/deploy/lab/nomad"
)

const (
	jobs = 200
	// ceiling is how long a slow machine may take; the jobs end as fast as the
	// sites let them.
	ceiling = 12 * time.Minute
)

// world is a broker with three sites that break.
type world struct {
	*brokertest.Broker
	slurm  *lab.Lab
	nomad  *nomadlab.Lab
	link   *faultproxy.Proxy // to Nomad
	remote *brokertest.Remote
	sites  map[string]place
	forgot time.Time // when slurmctld was last killed, and came back with an older state
}

// place is a site with the permit for it.
type place struct {
	site   wire.Site
	permit string
	dir    string // the site's folder
}

// task is one job: what it was told to do, and what became of it.
type task struct {
	key    string
	place  place
	args   string
	exit   int
	cancel bool // a person cancels it at some time
	asked  bool // and did
	job    wire.Job
}

// newWorld brings both clusters and the remote site's agent up and admits them.
func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{Broker: brokertest.New(t), sites: map[string]place{}}
	var err error
	w.slurm, err = lab.Start(t.Context(), os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.slurm.Stop(context.Background())) })
	w.nomad, err = nomadlab.Start(t.Context(), os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.nomad.Stop()) })
	w.link, err = faultproxy.Listen(t.Context(), "tcp", strings.TrimPrefix(w.nomad.Address, "http://"), seed)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.link.Close()) })

	exec := filepath.Join(brokertest.Programs(t), "valico-exec")
	onSlurm := &demo.SlurmLab{Lab: w.slurm, Exec: exec}
	onNomad := &demo.NomadLab{Lab: w.nomad, Exec: exec, Dir: w.Dir}
	var slurm, nomad wire.Site
	var slurmData, nomadData string
	w.Configure(func(c *app.Config) {
		if slurm, slurmData, err = onSlurm.Site(c); err == nil {
			nomad, nomadData, err = onNomad.Site(c)
		}
		require.NoError(t, err)
		for name, n := range c.Nomad {
			n.Address = "http://" + w.link.Addr()
			c.Nomad[name] = n
		}
	})
	w.remote = brokertest.NewRemote(w.Broker, nil)
	w.Prepare(slurm, slurmData, 100)
	w.sites["slurm"] = w.permitted(t, w.World.Site, onSlurm.SiteDir())
	added, err := w.World.Admit(t.Context(), nomad, nomadData, 100)
	require.NoError(t, err)
	w.sites["nomad"] = w.permitted(t, added, onNomad.SiteDir())
	w.remote.Enrol(100)
	w.remote.StartAgent()
	w.sites["remote"] = w.permitted(t, w.remote.Site, w.remote.Place)
	return w
}

// permitted imports a permit for a site that allows many GPUs at once.
func (w *world) permitted(t *testing.T, site wire.Site, dir string) place {
	t.Helper()
	doc := demo.Permit(time.Now(), site.Name)
	doc.ID += "-chaos-" + site.Name
	doc.SPE.MaxGPUs, doc.SPE.GPUHours = jobs, 100
	require.NoError(t, w.World.Import(t.Context(), doc, time.Now()))
	return place{site: site, permit: doc.ID, dir: dir}
}

// tasks draws what the jobs do: most succeed, some fail, some are cancelled.
func (w *world) tasks(rng *rand.Rand) []*task {
	out := make([]*task, jobs)
	for i := range out {
		k := &task{key: fmt.Sprintf("chaos-%03d", i), place: w.sites[[]string{"slurm", "nomad", "slurm", "remote", "slurm"}[i%5]]}
		work := time.Duration(100+rng.IntN(1900)) * time.Millisecond
		switch rng.IntN(8) {
		case 0:
			k.exit = 1 + rng.IntN(100)
		case 1:
			k.cancel, work = true, 20*time.Second
		}
		k.args = fmt.Sprintf(`, "-work", %q, "-exit", "%d"`, work, k.exit)
		out[i] = k
	}
	return out
}

// P1, P3, P4: whatever breaks, every job ends in the truth.
func TestJobsEndInTheTruthWhateverBreaks(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if s := os.Getenv("VALICO_CHAOS_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		require.NoError(t, err)
	}
	t.Logf("seed %d; VALICO_CHAOS_SEED draws the same faults again", seed)
	w := newWorld(t, seed)
	tasks := w.tasks(rand.New(rand.NewPCG(seed, 1)))
	// The storm is this goroutine's, because it may end the test; the persons have
	// another.
	ctx, cancel := context.WithTimeout(t.Context(), ceiling)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- w.people(ctx, tasks)
		cancel()
	}()
	w.storm(ctx, t, rand.New(rand.NewPCG(seed, 2)))
	require.NoError(t, w.slurm.Ready(t.Context()))
	require.NoError(t, <-done, "%s", w.Log())
	w.truth(t, tasks)
}
