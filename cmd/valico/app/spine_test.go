package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/jobspec"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/layer"
	"github.com/valico-hpc/valico/images/sandbox"
	"github.com/valico-hpc/valico/policy/permit"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	code := m.Run()
	_ = os.RemoveAll(builds.dir)
	_ = os.RemoveAll(built.dir)
	os.Exit(code)
}

// builds are the programs that the tests of this package run, built once.
var builds struct {
	once sync.Once
	dir  string
	err  error
}

// binaries builds valico-exec and the trainer without cgo, as they ship.
func binaries(t *testing.T) (execPath, image string) {
	t.Helper()
	builds.once.Do(func() {
		if builds.dir, builds.err = os.MkdirTemp("", "valico-app-"); builds.err != nil { //nolint:usetesting // shared by every test
			return
		}
		c := exec.Command("go", "build", "-o", filepath.Join(builds.dir, "valico-exec"), "github.com/valico-hpc/valico/cmd/valico-exec")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			builds.err = errors.New(string(out))
			return
		}
		builds.err = demo.BuildTrainer(context.Background(), builds.dir)
	})
	require.NoError(t, builds.err)
	return filepath.Join(builds.dir, "valico-exec"), filepath.Join(builds.dir, "image")
}

// broker is one running broker with the story's world.
type world struct {
	*demo.World
	t     *testing.T
	app   *app.App
	image string
}

func setup(t *testing.T, change ...func(*app.Config)) *world {
	t.Helper()
	site, err := demo.LocalSite()
	require.NoError(t, err)
	return setupSite(t, site, filepath.Join(t.TempDir(), "cohort"), change...)
}

// setupSite is setup with another site, and where its dataset goes.
func setupSite(t *testing.T, site wire.Site, dataDir string, change ...func(*app.Config)) *world {
	t.Helper()
	execPath, image := binaries(t)
	dir := t.TempDir()
	authority, err := demo.NewAuthority(dir)
	require.NoError(t, err)
	cfg := app.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.Authorities = filepath.Join(dir, "broker"), "127.0.0.1:0", authority.AuthoritiesFile()
	cfg.Exec, cfg.Poll = execPath, 50*time.Millisecond
	for _, f := range change {
		f(&cfg)
	}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	a, err := app.Open(t.Context(), cfg, "test")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, a.Close())
	})
	w, err := demo.Prepare(t.Context(), demo.WorldConfig{
		Dir: dir, URL: a.URL(), OperatorToken: a.OperatorTokenFile(), Authority: authority, Site: site,
		DataDir: dataDir, GPUHours: 10,
	})
	require.NoError(t, err)
	return &world{World: w, t: t, app: a, image: image}
}

// job is a job file that the permit covers.
func (w *world) job() demo.JobFile {
	return demo.JobFile{Permit: w.Permit.ID, Site: "local", Epochs: 3, Walltime: 2 * time.Minute}
}

// submit cuts the trainer's layer, uploads it and submits.
func (w *world) submit(as broker.PersonID, j demo.JobFile) (wire.Job, error) {
	w.t.Helper()
	c := w.Client(as)
	return c.Submit(w.t.Context(), w.spec(c, j), string(broker.NewID[broker.JobID]("key")))
}

func (w *world) spec(c *client.Client, j demo.JobFile) broker.JobSpec {
	w.t.Helper()
	file, err := jobspec.ParseYAML([]byte(j.YAML()))
	require.NoError(w.t, err)
	path := filepath.Join(w.t.TempDir(), "layer")
	f, err := os.Create(path)
	require.NoError(w.t, err)
	l, err := layer.Cut(w.t.Context(), f, w.image, layer.Options{})
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
	require.NoError(w.t, c.PutBlob(w.t.Context(), broker.Digest(l.Digest), l.SizeBytes, func() (io.ReadCloser, error) { return os.Open(path) }))
	return file.Spec([]broker.Layer{{
		Class: "source", MediaType: l.MediaType, Digest: broker.Digest(l.Digest), DiffID: broker.Digest(l.DiffID), SizeBytes: l.SizeBytes,
	}}, "none")
}

// ended waits for a job's end.
func (w *world) ended(as broker.PersonID, id string) wire.Job {
	w.t.Helper()
	var job wire.Job
	require.Eventually(w.t, func() bool {
		var err error
		job, err = w.Client(as).Job(w.t.Context(), id)
		require.NoError(w.t, err)
		return broker.JobState(job.State).Terminal()
	}, time.Minute, 50*time.Millisecond)
	return job
}

// The way of a job from end to end, over the API as a client sees it.
func TestAPermitBecomesATrainingRunAndItsReleasedOutputs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ada, rita, ctx := w.Client(demo.Developer), w.Client(demo.Reviewer), t.Context()
	job, err := w.submit(demo.Developer, w.job())
	require.NoError(t, err)
	require.Equal(t, "admitted", job.State)

	job = w.ended(demo.Developer, job.ID)
	require.Equal(t, "succeeded", job.State, "%+v", job.Attempts)

	decisions, err := ada.Decisions(ctx, job.ID)
	require.NoError(t, err)
	require.Len(t, decisions.Decisions, 2)
	require.Equal(t, "admission", decisions.Decisions[0].Kind)
	require.Equal(t, "clearance", decisions.Decisions[1].Kind)
	require.Greater(t, decisions.Decisions[1].LedgerIndex, decisions.Decisions[0].LedgerIndex)

	var losses []float64
	require.NoError(t, ada.Follow(ctx, job.ID, 0, func(e wire.Event) error {
		if e.Kind == broker.EventMetric && e.Name == "loss" {
			losses = append(losses, e.Value)
		}
		return nil
	}, nil))
	require.Len(t, losses, 3, "each epoch reported its loss once")
	require.Less(t, losses[2], losses[0], "the loss went down")

	outputs, err := ada.Outputs(ctx, job.ID)
	require.NoError(t, err)
	require.Len(t, outputs.Outputs, 1)
	sealed := outputs.Outputs[0]
	require.True(t, sealed.Sandbox)
	require.False(t, sealed.Released)
	_, err = ada.Fetch(ctx, job.ID, "model.json", "")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err), "what is not released does not exist")

	env, err := w.Authority.SignRelease(broker.AttemptID(sealed.Attempt), broker.Digest(sealed.Manifest), time.Now())
	require.NoError(t, err)
	_, err = ada.Release(ctx, job.ID, env)
	require.Error(t, err, "a submitter releases nothing of their own")
	_, err = rita.Release(ctx, job.ID, env)
	require.NoError(t, err)
	for _, f := range sealed.Files {
		r, err := ada.Fetch(ctx, job.ID, f.Path, broker.Digest(f.Digest))
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Equal(t, f.Digest, string(broker.DigestOf(b)))
	}
}

func TestAJobThatItsPermitDoesNotCoverIsNotAdmittedAndExplained(t *testing.T) {
	t.Parallel()
	w := setup(t)
	j := w.job()
	j.Purpose, j.Dataset = "53(1)(d)", demo.DatasetPrefix+"another"
	_, err := w.submit(demo.Developer, j)
	require.Equal(t, broker.KindNotAdmitted, broker.KindOf(err))
	var e *broker.Error
	require.ErrorAs(t, err, &e)
	codes := map[string]bool{}
	for _, r := range e.Reasons {
		codes[r.Code] = true
		require.NotEmpty(t, r.Basis)
		require.NotEqual(t, "in_force", r.Basis, "Chapter IV is not in force yet: %s", r.Code)
	}
	require.True(t, codes["purpose_not_permitted"] || codes["purpose_not_in_permit"], "%v", codes)
	require.NotEmpty(t, e.Decision, "a denial is a recorded decision too")
}

func TestAJobEndsAsItsPersonOrItsLimitSays(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ada, ctx := w.Client(demo.Developer), t.Context()

	long := w.job()
	long.Epochs, long.Pace = 1000, 100*time.Millisecond
	job, err := w.submit(demo.Developer, long)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		got, err := ada.Job(ctx, job.ID)
		return err == nil && len(got.Attempts) == 1 && got.Attempts[0].State == "running"
	}, time.Minute, 20*time.Millisecond)
	_, err = ada.Cancel(ctx, job.ID)
	require.NoError(t, err)
	job = w.ended(demo.Developer, job.ID)
	require.Equal(t, "cancelled", job.State)
	require.Equal(t, "cancelled", job.Attempts[0].Outcome)

	long.Walltime = time.Second
	job, err = w.submit(demo.Developer, long)
	require.NoError(t, err)
	job = w.ended(demo.Developer, job.ID)
	require.Equal(t, "failed", job.State)
	require.Equal(t, "walltime", job.Attempts[0].Outcome)

	spec := w.spec(ada, w.job())
	spec.Image.Command = []string{"/trainer", "-no-such-flag"}
	job, err = ada.Submit(ctx, spec, "broken")
	require.NoError(t, err)
	job = w.ended(demo.Developer, job.ID)
	require.Equal(t, "failed", job.State)
	require.Equal(t, "exit", job.Attempts[0].Outcome)
	require.Equal(t, 1, job.Attempts[0].ExitCode)
}

func TestAPersonWithoutAnAccountAtTheSiteIsTold(t *testing.T) {
	t.Parallel()
	w := setup(t)
	_, err := w.submit(demo.Colleague, w.job())
	var e *broker.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, broker.KindNotAdmitted, e.Kind)
	require.Len(t, e.Reasons, 1)
	require.Equal(t, "site_no_account", e.Reasons[0].Code)
}

func TestOneKeyMakesOneJobAndAnotherPersonsKeyIsTheirOwn(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ada := w.Client(demo.Developer)
	spec := w.spec(ada, w.job())
	first, err := ada.Submit(t.Context(), spec, "one-key")
	require.NoError(t, err)
	again, err := ada.Submit(t.Context(), spec, "one-key")
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	spec.Name = "another"
	_, err = ada.Submit(t.Context(), spec, "one-key")
	require.Equal(t, "idempotency_reused", broker.CodeOf(err))
	_, err = w.Client(demo.Colleague).Submit(t.Context(), w.spec(w.Client(demo.Colleague), w.job()), "one-key")
	require.Equal(t, "idempotency_reused", broker.CodeOf(err), "a colleague's request is not Ada's job")
}

// P1: status and image are looked at afresh at clearance. What changes after
// admission reaches no scheduler.
func TestWhatChangesBetweenAdmissionAndClearanceIsNotCleared(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(w *world)
		codes  []string
	}{
		"permit revoked": {func(w *world) {
			status, err := w.Authority.SignStatus(w.Permit, permit.StatusRevoked, time.Now())
			require.NoError(t, err)
			_, err = w.Client(demo.OperatorID).SetPermitStatus(t.Context(), w.Permit.ID, status)
			require.NoError(t, err)
		}, []string{"permit_status"}},
		"image signature gone": {func(w *world) {
			w.forgetSignatures()
		}, []string{"image_unsigned"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			w := setup(t, func(c *app.Config) {
				c.Step = func(step string) {
					if step == "clearing" {
						once.Do(func() { close(reached); <-goOn })
					}
				}
			})
			job, err := w.submit(demo.Developer, w.job())
			require.NoError(t, err)
			require.Equal(t, "admitted", job.State)
			<-reached
			tc.change(w)
			close(goOn)

			job = w.ended(demo.Developer, job.ID)
			require.Equal(t, "not_admitted", job.State)
			require.Equal(t, "refused", job.Attempts[0].State)
			ds, err := w.Client(demo.Developer).Decisions(t.Context(), job.ID)
			require.NoError(t, err)
			require.Len(t, ds.Decisions, 2)
			require.Equal(t, "deny", ds.Decisions[1].Verdict)
			var codes []string
			for _, r := range ds.Decisions[1].Reasons {
				codes = append(codes, r.Code)
			}
			require.Equal(t, tc.codes, codes)
			require.Empty(t, w.launches(), "nothing reached the scheduler")
		})
	}
}

// launches lists what the local scheduler was ever told to start.
func (w *world) launches() []string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.Dir, "broker", "sites", "*", "local", "*.json"))
	require.NoError(w.t, err)
	return found
}

// forgetSignatures takes every signature out of the image stores' indexes, as
// somebody with the disk but without the key could.
func (w *world) forgetSignatures() {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.Dir, "broker", "images", "*", "index.json"))
	require.NoError(w.t, err)
	require.NotEmpty(w.t, found)
	for _, path := range found {
		b, err := os.ReadFile(path)
		require.NoError(w.t, err)
		var index struct {
			SchemaVersion int              `json:"schemaVersion"`
			MediaType     string           `json:"mediaType"`
			Manifests     []map[string]any `json:"manifests"`
		}
		require.NoError(w.t, json.Unmarshal(b, &index))
		index.Manifests = slices.DeleteFunc(index.Manifests, func(m map[string]any) bool { return m["artifactType"] != nil })
		b, err = json.Marshal(index)
		require.NoError(w.t, err)
		require.NoError(w.t, os.WriteFile(path, b, 0o600))
	}
}

// A person's token is in nobody's logs and not in the record.
func TestATokenIsKeptNowhere(t *testing.T) {
	t.Parallel()
	w := setup(t)
	_, err := w.submit(demo.Developer, w.job())
	require.NoError(t, err)
	token, err := os.ReadFile(w.TokenFile(demo.Developer))
	require.NoError(t, err)
	secret := bytes.TrimSpace(token)
	err = filepath.WalkDir(filepath.Join(w.Dir, "broker"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // files come and go while the broker runs
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, secret) {
			t.Errorf("the token is in %s", path)
		}
		return nil
	})
	require.NoError(t, err)
}
