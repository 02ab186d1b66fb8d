package demo

import (
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// CohortRows is the size of the synthetic screening cohort.
const CohortRows = 4000

// WriteCohort writes a synthetic breast-screening cohort below dir: a table of
// invented people, drawn from a known model with noise, so that there is
// something to learn and nobody to identify. Equal seeds give equal bytes.
func WriteCohort(dir string, seed uint64) error {
	f, err := os.Create(filepath.Join(dir, "screening.csv")) //nolint:gosec // the caller's own folder
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	rows := append([][]string{{"age", "breast_density", "family_history", "bmi", "prior_biopsies", "recalled"}}, cohort(seed)...)
	if err := w.WriteAll(rows); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func cohort(seed uint64) [][]string {
	rng := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // synthetic data, not a secret
	rows := make([][]string, 0, CohortRows)
	for range CohortRows {
		age := 50 + 19*rng.Float64()
		density := float64(1 + rng.IntN(4))
		family := float64(rng.IntN(10) / 8)
		bmi := 26 + 4*rng.NormFloat64()
		biopsies := math.Floor(rng.ExpFloat64() * 0.4)
		z := -7.2 + 0.06*age + 0.75*density + 1.1*family + 0.02*bmi + 0.5*biopsies
		label := 0.0
		if rng.Float64() < 1/(1+math.Exp(-z)) {
			label = 1
		}
		row := make([]string, 0, 6)
		for i, v := range []float64{age, density, family, bmi, biopsies, label} {
			digits := 0
			if i == 0 || i == 3 {
				digits = 1
			}
			row = append(row, strconv.FormatFloat(v, 'f', digits, 64))
		}
		rows = append(rows, row)
	}
	return rows
}
