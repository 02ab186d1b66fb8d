package policy

import (
	"context"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/version"
	"github.com/stretchr/testify/require"
)

func TestTheEngineNamesItsPacksAndItself(t *testing.T) {
	t.Parallel()
	e := engine(t)
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, e.Digest())
	require.Equal(t, e.Digest(), engine(t).Digest())
	require.Equal(t, "opa "+version.Version, e.Version())
}

// packFiles is a writable copy of the embedded files.
func packFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(embedded, "rego", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := embedded.ReadFile(path)
		out[path] = &fstest.MapFile{Data: b}
		return err
	}))
	return out
}

func TestTheDigestChangesWithEveryFileThatDecidesAndNoTest(t *testing.T) {
	t.Parallel()
	whole, err := loadPacks(packFiles(t))
	require.NoError(t, err)
	for _, file := range []string{"rego/eu/permit.rego", "rego/lib/fact.rego", "rego/site/data.json", "rego/capabilities.json"} {
		files := packFiles(t)
		files[file].Data = append(files[file].Data, '\n')
		p, err := loadPacks(files)
		require.NoError(t, err)
		require.NotEqual(t, whole.digest, p.digest, "%s", file)
	}
	files := packFiles(t)
	files["rego/eu/permit_test.rego"].Data = []byte("no rego at all")
	p, err := loadPacks(files)
	require.NoError(t, err)
	require.Equal(t, whole.digest, p.digest)
}

func TestImpureRulesDoNotCompile(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		`http.send({"method": "get", "url": "http://127.0.0.1/"}).status_code == 200`, `time.now_ns() > 0`,
		`rand.intn("x", 2) == 1`, `opa.runtime().env.HOME != ""`, `net.lookup_ip_addr("localhost") != set()`,
		`uuid.rfc4122("x") != ""`, `data.eu.decision == input.undeclared(1)`,
	} {
		files := packFiles(t)
		files["rego/eu/impure.rego"] = &fstest.MapFile{Data: []byte("package eu\n\nimpure if " + call + "\n")}
		_, err := newEngine(t.Context(), files)
		require.Error(t, err, "%s", call)
	}
}

// A pack that answers nothing, or in another form, is an error: never an allow.
func TestWithoutADecisionOfTheAgreedFormNothingIsAllowed(t *testing.T) {
	t.Parallel()
	for name, decision := range map[string]string{
		"undefined":            `decision := lib.decision(set(), set(), set()) if input.nothing`,
		"unknown verdict":      `decision := {"verdict": "maybe", "reasons": [], "obligations": []}`,
		"deny without reasons": `decision := {"verdict": "deny", "reasons": [], "obligations": []}`,
		"allow with reasons":   `decision := {"verdict": "allow", "reasons": [lib.reason("x", "contract", [], {})], "obligations": []}`,
		"unknown basis":        `decision := {"verdict": "deny", "reasons": [lib.reason("x", "habit", [], {})], "obligations": []}`,
		"no code":              `decision := {"verdict": "deny", "reasons": [lib.reason("", "contract", [], {})], "obligations": []}`,
		"another member":       `decision := {"verdict": "allow", "reasons": [], "obligations": [], "override": true}`,
		"a boolean":            `decision := true`,
		"a conflict":           "decision := lib.decision(set(), set(), set())\n\ndecision := 2 if input.schema",
	} {
		files := packFiles(t)
		files["rego/sandbox/main.rego"].Data = []byte("package sandbox\n\nimport data.lib\n\nx := lib.now\n\n" + decision + "\n")
		e, err := newEngine(t.Context(), files)
		require.NoError(t, err, name)
		r, err := e.Evaluate(t.Context(), encode(t, admissionInput()))
		require.Error(t, err, name)
		require.Empty(t, r.Verdict, name)
	}
}

func TestAMissingPackIsAnError(t *testing.T) {
	t.Parallel()
	files := packFiles(t)
	delete(files, "rego/sandbox/main.rego")
	e, err := newEngine(t.Context(), files)
	if err == nil {
		_, err = e.Evaluate(t.Context(), encode(t, admissionInput()))
	}
	require.Error(t, err)
	_, err = combine([]byte(`{"eu":{"verdict":"allow","reasons":[],"obligations":[]},"site":{"verdict":"allow","reasons":[],"obligations":[]}}`))
	require.ErrorIs(t, err, ErrNoDecision)
}

func TestBrokenPacksDoNotLoad(t *testing.T) {
	t.Parallel()
	files := packFiles(t)
	delete(files, capabilitiesFile)
	_, err := newEngine(t.Context(), files)
	require.ErrorIs(t, err, fs.ErrNotExist)
	files = packFiles(t)
	files[capabilitiesFile].Data = []byte("{")
	_, err = newEngine(t.Context(), files)
	require.Error(t, err)
	files = packFiles(t)
	files["rego/eu/main.rego"].Data = []byte("package eu\n\nunused if { x := 1 }\n")
	_, err = newEngine(t.Context(), files)
	require.ErrorContains(t, err, "unused")
}

func TestACancelledEvaluationIsAnError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := engine(t).Evaluate(ctx, encode(t, admissionInput()))
	require.Error(t, err)
	require.Empty(t, r.Verdict)
}

func TestBytesThatAreNotCanonicalAreRefused(t *testing.T) {
	t.Parallel()
	e, whole := engine(t), string(encode(t, admissionInput()))
	for name, b := range map[string]string{
		"empty": "", "null": "null", "an array": "[]", "white space": whole + "\n", "two values": whole + whole,
		"unknown member":   strings.Replace(whole, `{"schema"`, `{"extra":1,"schema"`, 1),
		"duplicate member": strings.Replace(whole, `"moment"`, `"moment":"clearance","moment"`, 1),
		"null for a list":  strings.Replace(whole, `"roles":["developer"]`, `"roles":null`, 1),
		"another number":   strings.Replace(whole, `"nodes":2`, `"nodes":2.0`, 1),
		"another schema":   strings.Replace(whole, InputSchema, "valico-policy-input/v9", 1),
		"too long":         strings.Repeat(" ", MaxInputBytes) + whole,
	} {
		_, err := DecodeInput([]byte(b))
		require.Error(t, err, name)
		_, err = e.Evaluate(t.Context(), []byte(b))
		require.Error(t, err, name)
	}
	in, err := DecodeInput([]byte(whole))
	require.NoError(t, err)
	require.Equal(t, whole, string(encode(t, in)))
}

func TestEqualInputsGiveEqualBytes(t *testing.T) {
	t.Parallel()
	in := basedInput()
	in.Image.Config.Labels = map[string]string{"c": "3", "a": "1", "b": "2"}
	first := string(encode(t, in))
	require.Contains(t, first, `"labels":{"a":"1","b":"2","c":"3"}`)
	for range 20 {
		require.Equal(t, first, string(encode(t, in)))
	}
	in.Submitter.Roles, in.Site.GPUs = nil, nil
	require.Contains(t, string(encode(t, in)), `"roles":[]`, "a list that is not there is an empty list")
	in.Job.Name = "\xff"
	_, err := Canonical(in)
	require.Error(t, err, "text that is not UTF-8 has no canonical form")
}

func TestOneEngineDecidesForManyAtOnce(t *testing.T) {
	t.Parallel()
	e, all := engine(t), decisions()
	want, input := map[string]Result{}, map[string][]byte{}
	for name, in := range all {
		input[name] = encode(t, in)
		r, err := e.Evaluate(t.Context(), input[name])
		require.NoError(t, err)
		want[name] = r
	}
	var wg sync.WaitGroup
	got, errs := sync.Map{}, sync.Map{}
	for range 4 {
		for name := range all {
			wg.Go(func() {
				r, err := e.Evaluate(context.WithoutCancel(t.Context()), input[name])
				got.Store(name, r)
				if err != nil {
					errs.Store(name, err)
				}
			})
		}
	}
	wg.Wait()
	errs.Range(func(name, err any) bool { t.Errorf("%v: %v", name, err); return true })
	for name := range all {
		r, _ := got.Load(name)
		require.Equal(t, want[name], r, "%s", name)
	}
}

func TestAJobOfHundredsOfDatasetsIsDecided(t *testing.T) {
	t.Parallel()
	r, err := engine(t).Evaluate(t.Context(), encode(t, manyInput(200)))
	require.NoError(t, err)
	require.Equal(t, VerdictAllow, r.Verdict, "%v", r.Reasons)
}

// What decodes is canonical: its own encoding is the bytes it came from.
func FuzzDecodeInput(f *testing.F) {
	for _, in := range []Input{admissionInput(), basedInput()} {
		b, err := Canonical(in)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"schema":"valico-policy-input/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := DecodeInput(b)
		if err != nil {
			return
		}
		again, err := Canonical(in)
		require.NoError(t, err)
		require.Equal(t, string(b), string(again))
	})
}

func benchmarkInputs(b *testing.B) map[string][]byte {
	b.Helper()
	denied := admissionInput()
	sixFaults(&denied)
	return map[string][]byte{
		"allow": encode(b, clearanceInput()), "six_denials": encode(b, denied), "largest": encode(b, manyInput(1023)),
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for name, in := range benchmarkInputs(b) {
		b.Run(name, func(b *testing.B) {
			e := engine(b)
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, err := e.Evaluate(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvaluateParallel(b *testing.B) {
	e, in := engine(b), benchmarkInputs(b)["allow"]
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := e.Evaluate(b.Context(), in); err != nil {
				b.Error(err)
			}
		}
	})
}
