package brokertest

import (
	"regexp"
	"strings"
	"testing"
)

// NamesNothing fails the test where what a scheduler stores or logs names the
// story's permit, dataset, purpose, project, tenant, job or a person (P12).
func NamesNothing(t *testing.T, said string) {
	t.Helper()
	said = strings.ToLower(said)
	const id = `_[0-9a-z]{26}` // of a tenant, a project, a job
	for _, word := range []string{
		"sandbox", `data\.example`, "synthetic", "screening", `53\(1\)`, "biotech", "ada@", "ben@", "cohort", "trainer",
		"ten" + id, "prj" + id, "job" + id, "dec" + id, "ord" + id,
	} {
		if at := regexp.MustCompile(word).FindStringIndex(said); at != nil {
			t.Errorf("P12: %q reached the scheduler: …%s…", word, said[max(0, at[0]-200):min(len(said), at[1]+100)])
		}
	}
}
