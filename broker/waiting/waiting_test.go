package waiting_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/waiting"
)

func TestEveryCodeHasASentenceARemedyAndWhoHelpsInEveryLanguage(t *testing.T) {
	t.Parallel()
	want := broker.WaitCodes()
	slices.Sort(want)
	for _, lang := range waiting.Languages() {
		got, err := waiting.Codes(lang)
		require.NoError(t, err)
		require.Equal(t, want, got, "%s: a code without a sentence, or a sentence without a code", lang)
		said := map[string]broker.WaitCode{}
		for _, code := range got {
			m := waiting.Explain(lang, code, "leonardo")
			require.NotEmpty(t, m.Sentence, "%s %s", lang, code)
			require.NotEmpty(t, m.Remedy, "%s %s", lang, code)
			require.NotEmpty(t, m.Who, "%s %s", lang, code)
			require.NotContains(t, m.Sentence+m.Remedy+m.Who, "{", "%s %s: every slot is filled", lang, code)
			require.Empty(t, said[m.Sentence], "%s: two codes with one sentence", lang)
			said[m.Sentence] = code
		}
	}
}

func TestASentenceNamesTheSiteAndACodeOfTomorrowIsExplainedAsUnknown(t *testing.T) {
	t.Parallel()
	require.Contains(t, waiting.Explain("en", broker.WaitPriority, "leonardo").Sentence, "leonardo")
	require.Contains(t, waiting.Explain("it", broker.WaitPriority, "").Sentence, "il sito")
	require.Equal(t, waiting.Explain("en", broker.WaitUnknown, "x"), waiting.Explain("en", "word_of_tomorrow", "x"))
	require.Equal(t, waiting.Explain("en", broker.WaitHeld, "x"), waiting.Explain("fr", broker.WaitHeld, "x"))
}
