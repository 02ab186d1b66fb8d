package jobspec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
)

const whole = `# a screening model
name: screening
permit: IT-2026-1
purpose: 53(1)(e)(ii)
activity: train
datasets:
  - id: https://data.example/dataset/cohort
    version: 1.10
    mount: cohort
site: local
priority: background
image:
  base: none
  context: ./trainer
  command: [/train, --epochs, 5, ""]
  env:
    SEED: 7
    FLAG: true
  workdir: /work
  user: "1000:1000"
resources:
  nodes: 2
  gpus: 4
  gpu_type: h100
  cpus: 8
  memory: 64GiB
  walltime: 1h30m
network: job
telemetry: metrics
outputs:
  - {path: model.bin, type: model}
resume:
  signal: USR2
  before: 2m
  max_segments: 5
`

const least = `
permit: IT-2026-1
purpose: 53(1)(e)(ii)
activity: train
image:
  command: [/train]
resources:
  walltime: 10m
`

func TestAJobFileSaysTheWholeJob(t *testing.T) {
	t.Parallel()
	f, err := jobspec.ParseYAML([]byte(whole))
	require.NoError(t, err)
	require.Equal(t, jobspec.File{
		Name: "screening", Permit: "IT-2026-1", Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets: []broker.DatasetUse{{PURI: "https://data.example/dataset/cohort", Version: "1.10", Mount: "cohort"}}, Site: "local", Priority: "background",
		Image: jobspec.FileImage{
			Base: "none", Context: "./trainer", Command: []string{"/train", "--epochs", "5", ""},
			Env: []broker.EnvVar{{Name: "SEED", Value: "7"}, {Name: "FLAG", Value: "true"}}, WorkDir: "/work", User: "1000:1000",
		},
		Resources: broker.Resources{Nodes: 2, GPUsPerNode: 4, GPUType: "h100", CPUsPerNode: 8, MemoryMiB: 64 << 10, Walltime: 90 * time.Minute},
		Network:   "job", Telemetry: "metrics", Outputs: []broker.OutputSpec{{Path: "model.bin", Type: "model"}},
		Resume: broker.Resume{Signal: "USR2", Before: 2 * time.Minute, MaxSegments: 5},
	}, f)
	layer := valid().Image.Layers[0]
	s := f.Spec([]broker.Layer{layer}, string(digestOf("base")))
	require.Empty(t, jobspec.Check(s))
	require.Equal(t, []broker.Layer{layer}, s.Image.Layers)
	require.Equal(t, string(digestOf("base")), s.Image.Base)
}

func TestWhatIsLeftOutHasTheTightestDefault(t *testing.T) {
	t.Parallel()
	f, err := jobspec.ParseYAML([]byte(least))
	require.NoError(t, err)
	require.Equal(t, "job", f.Name)
	require.Equal(t, "none", f.Image.Base)
	require.Equal(t, "none", f.Network)
	require.Equal(t, "sealed", f.Telemetry)
	require.Equal(t, broker.Resources{Nodes: 1, CPUsPerNode: 1, MemoryMiB: 1024, Walltime: 10 * time.Minute}, f.Resources)
	require.Empty(t, jobspec.Check(f.Spec(nil, "none")))
}

func TestEveryFaultOfAJobFileIsToldWithItsLine(t *testing.T) {
	t.Parallel()
	_, err := jobspec.ParseYAML([]byte(`name: screening
permit: IT-2026-1
purpose: research
activty: train
datasets:
  - id: cohort
    mount: ../etc
image:
  command: /train
resources:
  gpu: 1
  memory: 64GB
  walltime: 10
outputs:
  - path: /model.bin
    type: model
`))
	var e *jobspec.Error
	require.ErrorAs(t, err, &e)
	type fault struct {
		path string
		line int
	}
	got := map[fault]string{}
	for _, p := range e.Problems {
		got[fault{p.Path, p.Line}] = p.Help
	}
	require.Equal(t, map[fault]string{
		{"purpose", 3}:             `for example "53(1)(e)(ii)": training, testing and evaluation of algorithms`,
		{"activty", 4}:             "did you mean activity?",
		{"activity", 0}:            "train, fine_tune, evaluate or inference_internal",
		{"datasets[0].id", 6}:      "copy it from the permit",
		{"datasets[0].mount", 7}:   "",
		{"image.command", 9}:       "",
		{"resources.gpu", 11}:      "did you mean gpus?",
		{"resources.memory", 12}:   `for example "512MiB" or "64GiB"`,
		{"resources.walltime", 13}: `for example "10m", "1h30m" or "2d"`,
		{"outputs[0].path", 15}:    `for example "model.bin"`,
	}, got)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err))
	require.Equal(t, jobspec.CodeInvalid, broker.CodeOf(err))
}

func TestAJobFileIsReadStrictly(t *testing.T) {
	t.Parallel()
	sub := func(from, to string) string {
		out := strings.Replace(whole, from, to, 1)
		require.NotEqual(t, whole, out, from)
		return out
	}
	for path, file := range map[string]string{
		"job.yaml":            "- a list",
		"name":                sub("permit: IT", "name: again\npermit: IT"),
		"image.env":           sub("env:\n    SEED: 7\n    FLAG: true", "env: [SEED=7]"),
		"image.env.FLAG":      sub("FLAG: true", "FLAG: [1]"),
		"image.env.SEED":      sub("FLAG: true", "SEED: 8"),
		"datasets":            sub("datasets:\n  - id: https://data.example/dataset/cohort\n    version: 1.10\n    mount: cohort", "datasets: none"),
		"resources.nodes":     sub("nodes: 2", "nodes: two"),
		"resources.cpus":      sub("cpus: 8", "cpus: 99999999999999999999"),
		"resources.gpus":      sub("gpus: 4", "gpus: 4.5"),
		"resources.walltime":  sub("1h30m", "-1h"),
		"resources.memory":    sub("64GiB", "99999999999TiB"),
		"site":                sub("site: local", "site:"),
		"priority":            sub("priority: background", "priority: 'of all'"),
		"network":             sub("network: job", "network: &a job"),
		"telemetry":           sub("telemetry: metrics", "telemetry: !secret metrics"),
		"image.base":          sub("base: none", `base: ""`),
		"image.user":          sub(`user: "1000:1000"`, "user: root"),
		"resources.gpu_typ":   sub("gpu_type: h100", "gpu_typ: h100"),
		"resume.signal":       sub("USR2", "KILL"),
		"resume.before":       sub("before: 2m", "before: 2h"),
		"resume.max_segments": sub("max_segments: 5", "max_segments: 1"),
		"resume.segments":     sub("max_segments: 5", "max_segments: 5\n  segments: 5"),
		"1":                   sub("network: job", "1: job"),
	} {
		_, err := jobspec.ParseYAML([]byte(file))
		var e *jobspec.Error
		require.ErrorAs(t, err, &e, path)
		require.Equal(t, path, e.Problems[0].Path, err)
		require.Len(t, e.Problems, 1, err)
	}
	for what, file := range map[string]string{
		"nothing": "", "a comment": "# nothing", "two documents": least + "---\n" + least, "not YAML": "a: [", "tabs": "a:\n\tb: c",
		"an alias": "x: &a [1]\ny: *a", "a merge": "image: &i {base: none}\nresources:\n  <<: *i", "not UTF-8": "name: \xff",
		"null": "null", "too long": strings.Repeat("#", jobspec.MaxFileBytes+1),
	} {
		_, err := jobspec.ParseYAML([]byte(file))
		require.Equal(t, jobspec.CodeInvalid, broker.CodeOf(err), what)
	}
}

func TestAResumeBlockNeedsItsTimesAndTakesTheUsualSignal(t *testing.T) {
	t.Parallel()
	f, err := jobspec.ParseYAML([]byte(least + "resume: {before: 30s, max_segments: 2}\n"))
	require.NoError(t, err)
	require.Equal(t, broker.Resume{Signal: "USR1", Before: 30 * time.Second, MaxSegments: 2}, f.Resume)
	_, err = jobspec.ParseYAML([]byte(least + "resume: {}\n"))
	var e *jobspec.Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Problems, 2)
}

func TestUnitsOfTimeAndMemory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"10m": 10 * time.Minute, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour,
		"36h": 36 * time.Hour, "1.5h": 90 * time.Minute,
	} {
		f, err := jobspec.ParseYAML([]byte(strings.Replace(least, "10m", text, 1)))
		require.NoError(t, err, text)
		require.Equal(t, want, f.Resources.Walltime, text)
	}
	for _, text := range []string{"10", "d", "1d2", "-1d", "1w", "0s", "1d-1h", "9999d", "500ms", "1.5d"} {
		_, err := jobspec.ParseYAML([]byte(strings.Replace(least, "10m", text, 1)))
		require.Error(t, err, text)
	}
	for text, want := range map[string]int{"512MiB": 512, "2GiB": 2048, "1TiB": 1 << 20, "4 GiB": 4096} {
		f, err := jobspec.ParseYAML([]byte(least + "  memory: " + text + "\n"))
		require.NoError(t, err, text)
		require.Equal(t, want, f.Resources.MemoryMiB, text)
	}
	for _, text := range []string{"512", "512MB", "GiB", "-1GiB", "0MiB", "1.5GiB"} {
		_, err := jobspec.ParseYAML([]byte(least + "  memory: " + text + "\n"))
		require.Error(t, err, text)
	}
}

// FuzzParseYAML holds that a file that is accepted makes a job that encodes.
func FuzzParseYAML(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(least))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := jobspec.ParseYAML(b)
		if err != nil {
			require.Equal(t, jobspec.CodeInvalid, broker.CodeOf(err))
			return
		}
		_, err = jobspec.EncodeSpec(file.Spec(nil, "none"))
		require.NoError(t, err)
	})
}
