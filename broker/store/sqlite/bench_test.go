package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/broker/store/sqlite"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

// BenchmarkGroupCommit compares admissions with group-commit writes of one row
// of the same bytes through the same writer, in turns: of_raw is their ratio.
func BenchmarkGroupCommit(b *testing.B) {
	const round = 128
	for _, clients := range []int{1, 32} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "valico.db"))
			f := storetest.Fill(b, s, 1<<40)
			require.NoError(b, s.Write(b.Context(), func(w sqlite.Writing) error {
				_, err := w.Exec(`CREATE TABLE raw (id INTEGER PRIMARY KEY, b BLOB)`)
				return err
			}))
			var admits, raws time.Duration
			n := 0
			for b.Loop() {
				rs := make([]admission.AdmitRecord, round)
				for i := range rs {
					rs[i] = f.Admission(b, broker.VerdictAllow, 1)
					rs[i].Decision.Input = big(6000)
				}
				raw := big(len(rs[0].SpecBytes) + len(rs[0].Decision.Input) + len(rs[0].Decision.Document) + 2000)
				raws += inParallel(b, clients, round, func(int) error {
					return s.Write(b.Context(), func(w sqlite.Writing) error {
						_, err := w.Exec(`INSERT INTO raw (b) VALUES (?)`, raw)
						return err
					})
				})
				admits += inParallel(b, clients, round, func(i int) error {
					_, _, err := s.Admit(b.Context(), rs[i])
					return err
				})
				n += round
			}
			b.ReportMetric(float64(n)/admits.Seconds(), "admit/s")
			b.ReportMetric(float64(n)/raws.Seconds(), "raw/s")
			b.ReportMetric(raws.Seconds()/admits.Seconds(), "of_raw")
		})
	}
}

func inParallel(b *testing.B, clients, n int, f func(int) error) time.Duration {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(clients)
	began := time.Now()
	for i := range n {
		g.Go(func() error { return f(i) })
	}
	require.NoError(b, g.Wait())
	return time.Since(began)
}
