package policy_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy"
)

const fewGPUs = `package site

decision := {"verdict": "allow", "reasons": [], "obligations": []} if count(reasons) == 0

decision := {"verdict": "deny", "reasons": reasons, "obligations": []} if count(reasons) > 0

reasons contains {"code": "too_many_gpus", "basis": "contract", "params": {"most": data.most}, "path": "order.gpus"} if not few

few if input.order.gpus <= data.most
`

// load pins whatever the folder holds.
func load(t *testing.T, src fstest.MapFS) (*policy.SiteRules, error) {
	t.Helper()
	_, err := policy.LoadSiteRules(t.Context(), src, "")
	if !errors.Is(err, policy.ErrRulesDigest) {
		return nil, err
	}
	words := strings.Fields(err.Error())
	return policy.LoadSiteRules(t.Context(), src, words[len(words)-1])
}

func rules(rego string) fstest.MapFS {
	return fstest.MapFS{"gpus.rego": {Data: []byte(rego)}, "data.json": {Data: []byte(`{"most":2}`)}, "README.md": {Data: []byte("x")}}
}

func TestASitesOwnRulesRefuse(t *testing.T) {
	t.Parallel()
	r, err := load(t, rules(fewGPUs))
	require.NoError(t, err)
	for gpus, verdict := range map[int]string{1: policy.VerdictAllow, 2: policy.VerdictAllow, 3: policy.VerdictDeny} {
		got, err := r.Evaluate(t.Context(), policy.SiteInput{Order: map[string]any{"gpus": gpus}})
		require.NoError(t, err)
		require.Equal(t, verdict, got.Verdict)
	}
	got, err := r.Evaluate(t.Context(), policy.SiteInput{Order: map[string]any{}})
	require.NoError(t, err)
	require.Equal(t, policy.VerdictDeny, got.Verdict, "a missing field denies")
	require.Equal(t, "too_many_gpus", got.Reasons[0].Code)
}

func TestRulesThatAreNotThePinnedOnesAreNotLoaded(t *testing.T) {
	t.Parallel()
	r, err := load(t, rules(fewGPUs))
	require.NoError(t, err)
	for name, change := range map[string]func(fstest.MapFS){
		"a byte":       func(m fstest.MapFS) { m["gpus.rego"] = &fstest.MapFile{Data: []byte(fewGPUs + " ")} },
		"the data":     func(m fstest.MapFS) { m["data.json"] = &fstest.MapFile{Data: []byte(`{"most":99}`)} },
		"another file": func(m fstest.MapFS) { m["more.rego"] = &fstest.MapFile{Data: []byte("package site\n")} },
		"one fewer":    func(m fstest.MapFS) { delete(m, "data.json") },
		"another name": func(m fstest.MapFS) { m["x.rego"] = m["gpus.rego"]; delete(m, "gpus.rego") },
	} {
		m := rules(fewGPUs)
		change(m)
		_, err := policy.LoadSiteRules(t.Context(), m, r.Digest())
		require.ErrorIs(t, err, policy.ErrRulesDigest, name)
	}
	m := rules(fewGPUs)
	m["README.md"] = &fstest.MapFile{Data: []byte("another")}
	_, err = policy.LoadSiteRules(t.Context(), m, r.Digest())
	require.NoError(t, err, "only rules and their data count")
}

func TestRulesThatCannotDecideNeverAllow(t *testing.T) {
	t.Parallel()
	for name, rego := range map[string]string{
		"no decision":       "package site\n",
		"undefined":         "package site\n\ndecision := {\"verdict\": \"allow\", \"reasons\": [], \"obligations\": []} if input.nothing\n",
		"another form":      "package site\n\ndecision := true\n",
		"an unknown member": "package site\n\ndecision := {\"verdict\": \"allow\", \"reasons\": [], \"obligations\": [], \"x\": 1}\n",
		"deny without why":  "package site\n\ndecision := {\"verdict\": \"deny\", \"reasons\": [], \"obligations\": []}\n",
	} {
		r, err := load(t, rules(rego))
		if err != nil {
			continue
		}
		_, err = r.Evaluate(t.Context(), policy.SiteInput{})
		require.Error(t, err, name)
	}
	for name, rego := range map[string]string{
		"the network": "package site\n\ndecision := http.send({\"url\": \"http://x\", \"method\": \"get\"})\n",
		"the clock":   "package site\n\ndecision := time.now_ns()\n",
	} {
		_, err := load(t, rules(rego))
		require.Error(t, err, name)
	}
}
