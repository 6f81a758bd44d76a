package workload

import (
	"context"
	"os"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// cstoreReal sends what a scanner made, under names of its own each time.
func (s Settings) cstoreReal() benchmarks.Workload {
	send := storescu(4, false)
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
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Drive: send},
			{Subject: s.bare(true), Drive: send},
			{Subject: s.oursNoFsync(), Drive: send},
			{Subject: s.bare(false), Drive: send},
			{Subject: subject.Orthanc{}, Drive: send},
			{Subject: subject.Orthanc{PostgreSQL: true}, Drive: send},
			{Subject: subject.DCMQRSCP{}, Drive: send},
		},
	}
}
