// Trainer fits a logistic regression to a screening cohort and writes the
// model and its metrics. It is the demo's workload: one file, the standard
// library alone, no network, deterministic for a seed.
//
// It reads the first *.csv below its data folder (a header; the last column is
// the label, 0 or 1), reports the loss of every epoch as a metric, and writes
// model.json and metrics.json to its output folder.
package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "trainer:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("trainer", flag.ContinueOnError)
	data := fs.String("data", "cohort", "name of the dataset below /data")
	epochs := fs.Int("epochs", 20, "passes over the training rows")
	rate := fs.Float64("rate", 0.02, "learning rate")
	seed := fs.Uint64("seed", 1, "seed of the split and the order of rows")
	pace := fs.Duration("pace", 0, "least time that an epoch takes")
	if err := fs.Parse(args); err != nil {
		return err
	}
	in, out := folder("VALICO_DATA", "/data"), folder("VALICO_OUT", "/out")
	set, err := load(filepath.Join(in, *data))
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(*seed, 0)) //nolint:gosec // training, not a secret
	train, test := set.split(rng)
	fmt.Fprintf(stdout, "%d rows to train on, %d held out, %d features\n", len(train), len(test), len(set.names))
	m := model{Features: set.names, Weights: make([]float64, len(set.names))}
	m.Mean, m.Scale = moments(train)
	report, done := metrics()
	defer done()
	curve := make([]float64, 0, *epochs)
	for e := range *epochs {
		start := time.Now()
		m.epoch(train, *rate, rng)
		loss := m.loss(train)
		curve = append(curve, loss)
		report("loss", loss, e+1)
		report("accuracy", m.accuracy(test), e+1)
		fmt.Fprintf(stdout, "epoch %d/%d loss %.4f\n", e+1, *epochs, loss)
		if rest := *pace - time.Since(start); rest > 0 {
			<-time.After(rest)
		}
	}
	if err := write(filepath.Join(out, "model.json"), m); err != nil {
		return err
	}
	result := map[string]any{
		"rows_trained": len(train), "rows_held_out": len(test), "loss": curve,
		"accuracy": m.accuracy(test), "auc": m.auc(test),
	}
	fmt.Fprintf(stdout, "held out: accuracy %.3f, AUC %.3f\n", result["accuracy"], result["auc"])
	return write(filepath.Join(out, "metrics.json"), result)
}

func folder(env, fallback string) string {
	if v := os.Getenv(env); v != "" {
		return v
	}
	return fallback
}

// metrics returns a function that reports one number to the launcher, which
// reads JSON lines from the file that VALICO_METRICS names.
func metrics() (report func(name string, value float64, step int), done func()) {
	f, err := os.OpenFile(os.Getenv("VALICO_METRICS"), os.O_WRONLY, 0) //nolint:gosec // the launcher names it
	if err != nil {
		return func(string, float64, int) {}, func() {}
	}
	enc := json.NewEncoder(f)
	return func(name string, value float64, step int) {
		_ = enc.Encode(map[string]any{"name": name, "value": value, "step": step}) // telemetry never fails a run
	}, func() { _ = f.Close() }
}

type row struct {
	x []float64
	y float64
}

type table struct {
	names []string
	rows  []row
}

func load(dir string) (table, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(files) == 0 {
		return table{}, errors.Join(err, fmt.Errorf("no .csv file below %s", dir))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return table{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return table{}, err
	}
	if len(all) < 3 || len(all[0]) < 2 {
		return table{}, fmt.Errorf("%s holds no table", files[0])
	}
	t := table{names: all[0][:len(all[0])-1]}
	for i, rec := range all[1:] {
		r := row{x: make([]float64, len(t.names))}
		for j, cell := range rec {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				return table{}, fmt.Errorf("row %d, column %d: %w", i+2, j+1, err)
			}
			if j < len(t.names) {
				r.x[j] = v
			} else {
				r.y = v
			}
		}
		t.rows = append(t.rows, r)
	}
	return t, nil
}

// split shuffles and keeps a fifth of the rows back.
func (t table) split(rng *rand.Rand) (train, test []row) {
	rows := slices.Clone(t.rows)
	rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	n := len(rows) / 5
	return rows[n:], rows[:n]
}

// model is a logistic regression over standardised features.
type model struct {
	Features []string  `json:"features"`
	Mean     []float64 `json:"mean"`
	Scale    []float64 `json:"scale"`
	Weights  []float64 `json:"weights"`
	Bias     float64   `json:"bias"`
}

func moments(rows []row) (mean, scale []float64) {
	n := float64(len(rows))
	mean, scale = make([]float64, len(rows[0].x)), make([]float64, len(rows[0].x))
	for _, r := range rows {
		for j, v := range r.x {
			mean[j] += v / n
		}
	}
	for _, r := range rows {
		for j, v := range r.x {
			scale[j] += (v - mean[j]) * (v - mean[j]) / n
		}
	}
	for j := range scale {
		scale[j] = max(math.Sqrt(scale[j]), 1e-9)
	}
	return mean, scale
}

func (m *model) predict(x []float64) float64 {
	z := m.Bias
	for j, v := range x {
		z += m.Weights[j] * (v - m.Mean[j]) / m.Scale[j]
	}
	return 1 / (1 + math.Exp(-z))
}

// epoch is one pass of gradient descent in mini-batches of 64 rows.
func (m *model) epoch(rows []row, rate float64, rng *rand.Rand) {
	order := rng.Perm(len(rows))
	for batch := range slices.Chunk(order, 64) {
		grad, bias := make([]float64, len(m.Weights)), 0.0
		for _, i := range batch {
			e := m.predict(rows[i].x) - rows[i].y
			bias += e
			for j, v := range rows[i].x {
				grad[j] += e * (v - m.Mean[j]) / m.Scale[j]
			}
		}
		step := rate / float64(len(batch))
		m.Bias -= step * bias
		for j := range grad {
			m.Weights[j] -= step * grad[j]
		}
	}
}

// loss is the mean cross-entropy.
func (m *model) loss(rows []row) float64 {
	var sum float64
	for _, r := range rows {
		p := min(max(m.predict(r.x), 1e-12), 1-1e-12)
		sum -= r.y*math.Log(p) + (1-r.y)*math.Log(1-p)
	}
	return sum / float64(len(rows))
}

func (m *model) accuracy(rows []row) float64 {
	var right int
	for _, r := range rows {
		if (m.predict(r.x) >= 0.5) == (r.y == 1) {
			right++
		}
	}
	return float64(right) / float64(len(rows))
}

// auc is the chance that a case is ranked above a control (Mann-Whitney U).
func (m *model) auc(rows []row) float64 {
	ranked := slices.Clone(rows)
	slices.SortFunc(ranked, func(a, b row) int {
		return int(math.Copysign(1, m.predict(a.x)-m.predict(b.x)))
	})
	var cases, controls, wins float64
	for _, r := range ranked {
		if r.y == 1 {
			cases++
			wins += controls
		} else {
			controls++
		}
	}
	if cases*controls == 0 {
		return math.NaN()
	}
	return wins / (cases * controls)
}

func write(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // an output, for whoever fetches it
}
