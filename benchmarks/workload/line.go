package workload

import "github.com/esante-alsace/cigogne/benchmarks"

func (s Settings) lines() []benchmarks.Workload { return nil }
