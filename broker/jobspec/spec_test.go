package jobspec_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/jobspec"
)

func digestOf(s string) broker.Digest { return broker.DigestOf([]byte(s)) }

func valid() broker.JobSpec {
	return broker.JobSpec{
		Name: "screening", Permit: "IT-2026-1", Purpose: broker.Purpose{Code: "53(1)(e)", Sub: "ii"}, Activity: "train",
		Datasets: []broker.DatasetUse{{PURI: "https://data.example/dataset/cohort", Version: "1", Mount: "cohort"}}, Site: "local", Priority: "standard",
		Image: broker.ImageSpec{
			Base: "none", Command: []string{"/train", ""}, Env: []broker.EnvVar{{Name: "SEED", Value: "7"}}, WorkDir: "/work", User: "1000:1000",
			Layers: []broker.Layer{{
				Class: "source", MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Digest: digestOf("a"), DiffID: digestOf("b"), SizeBytes: 1,
			}},
		},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 2, GPUType: "h100", CPUsPerNode: 3, MemoryMiB: 4, Walltime: 5 * time.Second},
		Network:   "none", Telemetry: "full", Outputs: []broker.OutputSpec{{Path: "out/model.bin", Type: "model"}},
		Resume: broker.Resume{Signal: "USR1", Before: 2 * time.Second, MaxSegments: 3},
	}
}

func TestOneSpecHasOneEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := valid()
		s.Name = rapid.StringMatching(`[a-z"\\<ü]{1,20}`).Draw(rt, "name")
		s.Site = rapid.SampledFrom([]string{"", "local"}).Draw(rt, "site")
		s.Image.Command = append([]string{"/x"}, rapid.SliceOfN(rapid.StringMatching(`[^\x00]{0,9}`), 0, 3).Draw(rt, "args")...)
		s.Resources.Walltime = time.Duration(rapid.IntRange(1, 1e6).Draw(rt, "w")) * time.Second
		s.Resume = broker.Resume{}
		if s.Resources.Walltime > time.Second && rapid.Bool().Draw(rt, "resumes") {
			s.Resume = broker.Resume{
				Signal: rapid.SampledFrom(broker.ResumeSignals()).Draw(rt, "signal"), MaxSegments: rapid.IntRange(2, 100).Draw(rt, "segments"),
				Before: time.Duration(rapid.IntRange(1, int(s.Resources.Walltime/time.Second)-1).Draw(rt, "before")) * time.Second,
			}
		}
		s.Resources.Nodes = rapid.IntRange(1, 100).Draw(rt, "n")
		s.Image.Layers[0].SizeBytes = rapid.Int64Range(1, 1<<50-1).Draw(rt, "size")
		for _, clear := range []func(){
			func() { s.Datasets = nil }, func() { s.Outputs = nil }, func() { s.Image.Env = nil }, func() { s.Image.Layers = nil },
		} {
			if rapid.Bool().Draw(rt, "clear") {
				clear()
			}
		}
		b, err := jobspec.EncodeSpec(s)
		require.NoError(rt, err)
		back, err := jobspec.DecodeSpec(b)
		require.NoError(rt, err)
		require.Equal(rt, s, back)
	})
}

func TestEmptyListsAndNoListsHaveTheSameEncoding(t *testing.T) {
	t.Parallel()
	a, b := valid(), valid()
	a.Datasets, a.Outputs, a.Image.Env, a.Image.Layers = nil, nil, nil, nil
	b.Datasets, b.Outputs, b.Image.Env, b.Image.Layers = []broker.DatasetUse{}, []broker.OutputSpec{}, []broker.EnvVar{}, []broker.Layer{}
	ab, err := jobspec.EncodeSpec(a)
	require.NoError(t, err)
	bb, err := jobspec.EncodeSpec(b)
	require.NoError(t, err)
	require.Equal(t, ab, bb)
}

// TestEveryFieldOfAJobSpecIsInItsEncoding walks the spec by reflection: a
// field that is added and not encoded fails here.
func TestEveryFieldOfAJobSpecIsInItsEncoding(t *testing.T) {
	t.Parallel()
	full := valid()
	b, err := jobspec.EncodeSpec(full)
	require.NoError(t, err)
	back, err := jobspec.DecodeSpec(b)
	require.NoError(t, err)
	fields := 0
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() { //nolint:exhaustive // the kinds that nouns are made of
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice:
			require.NotZero(t, v.Len(), path)
			walk(v.Index(0), path+"[0]")
		default:
			require.False(t, v.IsZero(), "%s is lost, or not set by this test", path)
			fields++
		}
	}
	walk(reflect.ValueOf(back), "spec")
	require.GreaterOrEqual(t, fields, 29)
}

// A job of one segment is encoded as it was before there were segments, so
// that the digests of stored jobs stay.
func TestAJobOfOneSegmentSaysNothingOfSegments(t *testing.T) {
	t.Parallel()
	s := valid()
	s.Resume = broker.Resume{}
	b, err := jobspec.EncodeSpec(s)
	require.NoError(t, err)
	require.NotContains(t, string(b), "resume")
	back, err := jobspec.DecodeSpec(b)
	require.NoError(t, err)
	require.Equal(t, s, back)
}

func TestOtherSpellingsAreRefused(t *testing.T) {
	t.Parallel()
	b, err := jobspec.EncodeSpec(valid())
	require.NoError(t, err)
	for _, c := range [][2]string{
		{`{"schema"`, `{ "schema"`},
		{`{"schema"`, `{"extra":1,"schema"`},
		{`{"schema":`, `{"schema":"x","schema":`},
		{jobspec.Schema, "valico-job/v2"},
		{`"site":"local",`, ``},
		{`"site":"local"`, `"site":null`},
		{`"nodes":1`, `"nodes":1.0`},
		{`"nodes":1`, `"nodes":0`},
		{`"walltime_seconds":5`, `"walltime_seconds":-5`},
		{`"walltime_seconds":5`, `"walltime_seconds":9223372036854775807`},
		{`"name":"screening"`, `"name":"\u0073creening"`},
		{`"activity":"train"`, `"Activity":"train"`},
		{`"before_seconds":2`, `"before_seconds":9223372036854775807`},
		{`"max_segments":3`, `"max_segments":1`},
		{`"signal":"USR1"`, `"signal":"KILL"`},
		{`"resume":{"signal":"USR1","before_seconds":2,"max_segments":3}`, `"resume":null`},
		{`"resume":{"signal":"USR1","before_seconds":2,"max_segments":3}`, `"resume":{"signal":"","before_seconds":0,"max_segments":0}`},
	} {
		changed := strings.Replace(string(b), c[0], c[1], 1)
		require.NotEqual(t, string(b), changed, c[0])
		_, err := jobspec.DecodeSpec([]byte(changed))
		require.Equal(t, jobspec.CodeInvalid, broker.CodeOf(err), c[1])
	}
	for _, b := range [][]byte{nil, []byte("null"), []byte("[]"), append(b, b...), make([]byte, jobspec.MaxSpecBytes+1)} {
		_, err := jobspec.DecodeSpec(b)
		require.Equal(t, broker.KindInvalid, broker.KindOf(err))
	}
}

// breakages breaks one rule of form each, at the path given.
func breakages() map[string][]func(*broker.JobSpec) {
	type spec = *broker.JobSpec
	return map[string][]func(*broker.JobSpec){
		"name":                       {func(s spec) { s.Name = "" }, func(s spec) { s.Name = "a\nb" }, func(s spec) { s.Name = strings.Repeat("x", 101) }, func(s spec) { s.Name = "\xff" }},
		"permit":                     {func(s spec) { s.Permit = "" }, func(s spec) { s.Permit = "a b" }},
		"purpose":                    {func(s spec) { s.Purpose = broker.Purpose{} }, func(s spec) { s.Purpose.Code = "53(1)" }, func(s spec) { s.Purpose.Sub = "iii" }, func(s spec) { s.Purpose.Code = "53(1)(ee)" }},
		"activity":                   {func(s spec) { s.Activity = "" }, func(s spec) { s.Activity = "Train" }},
		"site":                       {func(s spec) { s.Site = "a b" }},
		"datasets[0].id":             {func(s spec) { s.Datasets[0].PURI = "cohort" }, func(s spec) { s.Datasets[0].PURI = "" }, func(s spec) { s.Datasets[0].PURI = "https:///x" }},
		"datasets[0].version":        {func(s spec) { s.Datasets[0].Version = "a b" }},
		"datasets[0].mount":          {func(s spec) { s.Datasets[0].Mount = "" }, func(s spec) { s.Datasets[0].Mount = ".." }, func(s spec) { s.Datasets[0].Mount = "a/b" }, func(s spec) { s.Datasets[0].Mount = "-x" }, func(s spec) { s.Datasets[0].Mount = "a\x00" }},
		"datasets[1].id":             {func(s spec) { s.Datasets = append(s.Datasets, s.Datasets[0]); s.Datasets[1].Mount = "b" }},
		"datasets[1].mount":          {func(s spec) { s.Datasets = append(s.Datasets, s.Datasets[0]); s.Datasets[1].PURI += "b" }},
		"image.base":                 {func(s spec) { s.Image.Base = "" }, func(s spec) { s.Image.Base = "python:3" }},
		"image.layers[0].class":      {func(s spec) { s.Image.Layers[0].Class = "" }},
		"image.layers[0].media_type": {func(s spec) { s.Image.Layers[0].MediaType = "text/plain" }},
		"image.layers[0].digest":     {func(s spec) { s.Image.Layers[0].Digest = "sha256:0" }},
		"image.layers[0].diff_id":    {func(s spec) { s.Image.Layers[0].DiffID = "" }},
		"image.layers[0].size_bytes": {func(s spec) { s.Image.Layers[0].SizeBytes = 0 }, func(s spec) { s.Image.Layers[0].SizeBytes = 1 << 50 }},
		"image.layers":               {func(s spec) { s.Image.Layers = repeat(s.Image.Layers[0], 101) }},
		"image.command":              {func(s spec) { s.Image.Command = nil }, func(s spec) { s.Image.Command[0] = "" }, func(s spec) { s.Image.Command = repeat("x", 1025) }},
		"image.command[1]":           {func(s spec) { s.Image.Command[1] = "\x00" }, func(s spec) { s.Image.Command[1] = "\xff" }, func(s spec) { s.Image.Command[1] = strings.Repeat("x", 4097) }},
		"image.env.A=B":              {func(s spec) { s.Image.Env[0].Name = "A=B" }},
		"image.env.1A":               {func(s spec) { s.Image.Env[0].Name = "1A" }},
		"image.env.":                 {func(s spec) { s.Image.Env[0].Name = "" }},
		"image.env.VALICO_METRICS":   {func(s spec) { s.Image.Env[0].Name = "VALICO_METRICS" }},
		"image.env.SEED":             {func(s spec) { s.Image.Env[0].Value = "\x00" }, func(s spec) { s.Image.Env = append(s.Image.Env, s.Image.Env[0]) }},
		"image.env":                  {func(s spec) { s.Image.Env = many(1025) }},
		"image.workdir":              {func(s spec) { s.Image.WorkDir = "a" }, func(s spec) { s.Image.WorkDir = "/a/../b" }, func(s spec) { s.Image.WorkDir = "/a/" }},
		"image.user":                 {func(s spec) { s.Image.User = "root" }, func(s spec) { s.Image.User = "0:" }, func(s spec) { s.Image.User = "-1" }, func(s spec) { s.Image.User = "01" }},
		"resources.nodes":            {func(s spec) { s.Resources.Nodes = 0 }, func(s spec) { s.Resources.Nodes = 100_001 }},
		"resources.gpus":             {func(s spec) { s.Resources.GPUsPerNode = -1 }, func(s spec) { s.Resources.GPUsPerNode = 1025 }},
		"resources.cpus":             {func(s spec) { s.Resources.CPUsPerNode = 0 }},
		"resources.memory":           {func(s spec) { s.Resources.MemoryMiB = 0 }, func(s spec) { s.Resources.MemoryMiB = 1<<30 + 1 }},
		"resources.gpu_type":         {func(s spec) { s.Resources.GPUType = "a b" }},
		"resources.walltime":         {func(s spec) { s.Resources.Walltime = 0 }, func(s spec) { s.Resources.Walltime = 1500 * time.Millisecond }, func(s spec) { s.Resources.Walltime = 367 * 24 * time.Hour }},
		"network":                    {func(s spec) { s.Network = "" }, func(s spec) { s.Network = "host" }},
		"telemetry":                  {func(s spec) { s.Telemetry = "" }},
		"outputs[0].path":            {func(s spec) { s.Outputs[0].Path = "/etc" }, func(s spec) { s.Outputs[0].Path = "../x" }, func(s spec) { s.Outputs[0].Path = ".." }, func(s spec) { s.Outputs[0].Path = "a//b" }, func(s spec) { s.Outputs[0].Path = "" }, func(s spec) { s.Outputs[0].Path = "." }, func(s spec) { s.Outputs[0].Path = "a\\b" }},
		"outputs[0].type":            {func(s spec) { s.Outputs[0].Type = "zip" }},
		"outputs[1].path":            {func(s spec) { s.Outputs = append(s.Outputs, s.Outputs[0]) }},
	}
}

func repeat[T any](v T, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func many(n int) []broker.EnvVar {
	out := make([]broker.EnvVar, n)
	for i := range out {
		out[i].Name = fmt.Sprintf("V%d", i)
	}
	return out
}

func TestEachBrokenRuleIsToldAloneAtItsPath(t *testing.T) {
	t.Parallel()
	require.Empty(t, jobspec.Check(valid()))
	for path, breaks := range breakages() {
		for i, do := range breaks {
			s := valid()
			do(&s)
			found := jobspec.Check(s)
			require.Len(t, found, 1, "%s %d: %v", path, i, found)
			require.Equal(t, path, found[0].Path)
			require.NotEmpty(t, found[0].Rule)
			_, err := jobspec.EncodeSpec(s)
			var e *broker.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, broker.KindInvalid, e.Kind)
			require.Contains(t, e.Rule, path)
		}
	}
}

func TestAnErrorListsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := jobspec.EncodeSpec(broker.JobSpec{})
	var e *jobspec.Error
	require.ErrorAs(t, err, &e)
	require.Greater(t, len(e.Problems), 8)
	for _, p := range e.Problems {
		require.Contains(t, err.Error(), p.String())
	}
	require.Contains(t, e.Unwrap().Error(), "more)")
}

// FuzzDecodeSpec holds that what is accepted is exactly what is encoded.
func FuzzDecodeSpec(f *testing.F) {
	b, err := jobspec.EncodeSpec(valid())
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(`{"schema":"valico-job/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := jobspec.DecodeSpec(b)
		if err != nil {
			require.Equal(t, jobspec.CodeInvalid, broker.CodeOf(err))
			return
		}
		again, err := jobspec.EncodeSpec(s)
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}
