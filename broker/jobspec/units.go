package jobspec

import (
	"slices"
	"strconv"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// memory reads "512MiB", "64GiB" or "2TiB" as MiB.
func memory(s string) (int, bool) {
	for _, u := range []struct {
		name string
		mib  int
	}{{"MiB", 1}, {"GiB", 1 << 10}, {"TiB", 1 << 20}} {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(digits))
		if err != nil || n < 0 || n > maxMemory/u.mib {
			return 0, false
		}
		return n * u.mib, true
	}
	return 0, false
}

// purpose splits "53(1)(e)(ii)" into its code and sub-point; Check tells what
// is not one.
func purpose(s string) broker.Purpose {
	for _, sub := range []string{"ii", "i"} {
		code, ok := strings.CutSuffix(s, "("+sub+")")
		// The letters of Article 53(1) include (i): what is left must still be a point.
		if ok && strings.Count(code, "(") == 2 {
			return broker.Purpose{Code: code, Sub: sub}
		}
	}
	return broker.Purpose{Code: s}
}

// hint names the nearest of the known words, or all of them.
func hint(word string, known []string) string {
	slices.Sort(known)
	best, least := "", 3
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(known, ", ")
}

// distance is the Levenshtein distance, bounded by the length of short words.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
