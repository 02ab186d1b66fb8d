package messages_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy"
	"github.com/valico-hpc/valico/policy/messages"
)

var slot = regexp.MustCompile(`\{([a-z_]+)\}`)

// emitted reads codes and parameter names out of every rule's head, and the
// codes of the metadata.
func emitted(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("../rego/*/*.rego")
	require.NoError(t, err)
	out := map[string][]string{}
	head := regexp.MustCompile(`(?m)^(?:deny|review) contains lib\.reason\("([a-z_.]+)", [^\n]*`)
	param := regexp.MustCompile(`"([a-z_]+)": `)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.rego") {
			continue
		}
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		rules := head.FindAllStringSubmatch(string(b), -1)
		require.Len(t, rules, strings.Count(string(b), "lib.reason("), "%s: every reason is given in a rule's head", f)
		for _, m := range rules {
			names := []string{"value"}
			for _, p := range param.FindAllStringSubmatch(m[0], -1) {
				names = append(names, p[1])
			}
			slices.Sort(names)
			if have, ok := out[m[1]]; ok {
				require.Equal(t, have, names, "%s: rules of one code have the same parameters", m[1])
			}
			out[m[1]] = names
		}
	}
	infos, err := policy.Codes()
	require.NoError(t, err)
	codes := []string{}
	for _, c := range infos {
		codes = append(codes, c.Code)
	}
	require.Equal(t, slices.Sorted(maps.Keys(out)), codes, "metadata and rules name the same codes")
	return out
}

func TestEveryCodeHasATextWithTheSameSlotsInEveryLanguage(t *testing.T) {
	t.Parallel()
	params := emitted(t)
	for _, lang := range messages.Languages() {
		codes, err := messages.Codes(lang)
		require.NoError(t, err)
		require.Equal(t, slices.Sorted(maps.Keys(params)), codes, "%s: no code without text, no text without code", lang)
		for code, names := range params {
			filled := map[string]string{}
			for _, n := range names {
				filled[n] = "{" + n + "}"
			}
			m, ok := messages.Explain(lang, code, filled)
			require.True(t, ok)
			require.NotEmpty(t, m.Help)
			require.NotEmpty(t, m.Who)
			require.NotEmpty(t, m.Article)
			used := []string{}
			for _, s := range slot.FindAllStringSubmatch(m.Text, -1) {
				used = append(used, s[1])
			}
			slices.Sort(used)
			require.Equal(t, names, slices.Compact(used), "%s: %s shows each parameter", lang, code)
		}
	}
}

// Articles of Chapter IV are cited with the day from which they apply.
func TestNoTextClaimsLawBeforeItApplies(t *testing.T) {
	t.Parallel()
	infos, err := policy.Codes()
	require.NoError(t, err)
	chapterIV := regexp.MustCompile(`^(5\d|6\d|7[1-9]|8[01])(\(|$)`)
	for _, c := range infos {
		en, _ := messages.Explain("en", c.Code, nil)
		it, _ := messages.Explain("it", c.Code, nil)
		require.Equal(t, c.Article == "contract", en.Article == "contract with the site", "%s", c.Code)
		if c.Article != "contract" {
			require.Contains(t, en.Article, "Article "+c.Article+" of Regulation (EU) 2025/327")
			require.Contains(t, it.Article, "regolamento (UE) 2025/327")
		}
		if chapterIV.MatchString(c.Article) {
			require.Contains(t, en.Article, "applies from 26 March 2029", "%s", c.Code)
			require.Contains(t, it.Article, "si applica dal 26 marzo 2029", "%s", c.Code)
		}
		for _, text := range []string{en.Text, en.Help, it.Text, it.Help} {
			require.NotContains(t, text, "in force")
			require.NotContains(t, text, "in vigore")
		}
	}
}

func TestTheSummarySaysThatNoPermitIsDecided(t *testing.T) {
	t.Parallel()
	en, ok := messages.Summary("en")
	require.True(t, ok)
	require.Contains(t, en, "technical check of a job, not a decision on your permit")
	it, ok := messages.Summary("it")
	require.True(t, ok)
	require.Contains(t, it, "autorizzazione ai dati")
	_, ok = messages.Summary("xx")
	require.False(t, ok)
}

func TestSlotsAreFilledOnceAndUnknownCodesSaySo(t *testing.T) {
	t.Parallel()
	m, ok := messages.Explain("en", "permit_expired", map[string]string{"value": "{now}", "now": "today"})
	require.True(t, ok)
	require.Equal(t, "the permit's access period ended at {now}; it is today", m.Text)
	require.Equal(t, "your permit authority", m.Who)
	m, _ = messages.Explain("it", "permit_expired", nil)
	require.Equal(t, "il periodo di accesso dell'autorizzazione ai dati è finito il –; ora è –", m.Text)
	_, ok = messages.Explain("en", "no_such_code", nil)
	require.False(t, ok)
	_, ok = messages.Explain("xx", "permit_expired", nil)
	require.False(t, ok)
}

// Each reason of the golden decisions reads as a whole sentence.
func TestGoldenReasonsLeaveNoSlotOpen(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/golden/*_deny.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var g struct{ Result policy.Result }
		require.NoError(t, json.Unmarshal(b, &g))
		for _, r := range g.Result.Reasons {
			for _, lang := range messages.Languages() {
				m, ok := messages.Explain(lang, r.Code, r.Params)
				require.True(t, ok, r.Code)
				require.NotRegexp(t, slot, m.Text)
			}
		}
	}
}
