package workload

import (
	"context"
	"os"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// cstoreReal sends what a scanner made, under names of its own each time.
func (s Settings) cstoreReal() benchmarks.Workload {
	return benchmarks.Workload{
		Name: "cstore-real", Title: "C-STORE by stock storescu, 4 associations, a real MR series of 150, 25 KB each",
		Primary: result.Instances, Unit: result.Instances, Amount: 6 * s.Instances,
		Material: func(dir string, n int, seed uint64) (*material.Series, error) {
			return material.Real(s.Real, dir, n, seed)
		},
		Open: func(context.Context) (func(), error) {
			_, err := os.Stat(s.Real)
			return func() {}, err
		},
		Cases: s.receivers(storescu(4, false)),
	}
}
