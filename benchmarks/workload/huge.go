package workload

import (
	"context"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// hugeFrames are those of an instance that nobody should hold in memory: 4000
// are 2.1 GB.
func (s Settings) hugeFrames() int { return 8 * s.Instances }

// hugeRounds are few: each leaves 2.1 GB on the disk for each subject.
const hugeRounds = 2

func (s Settings) hugeIn() benchmarks.Workload {
	kind := material.Kind{Modality: "CT", Frames: s.hugeFrames()}
	return benchmarks.Workload{
		Name: "huge-in", Title: "a multi-frame of 2.1 GB by stock storescu and by STOW-RS",
		Primary: result.Throughput, Unit: result.Instances, Amount: 1, Rounds: hugeRounds,
		Material: func(dir string, n int, seed uint64) (*material.Series, error) {
			return material.Write(dir, kind, n, seed)
		},
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Drive: storescu(1, false)},
			{Subject: named{s.ours(), "cigogne stow"}, Drive: stow(1, 1)},
			{Subject: s.bare(true), Drive: storescu(1, false)},
			{Subject: subject.Orthanc{}, Drive: storescu(1, false)},
		},
	}
}

func (s Settings) hugeOut() benchmarks.Workload {
	h := s.hold("held-huge", material.Kind{Modality: "CT", Frames: s.hugeFrames()}, 1)
	get := gets(1, web, h.instanceAsk)
	return benchmarks.Workload{
		Name: "huge-out", Title: "WADO-RS, a multi-frame of 2.1 GB, 1 client",
		Primary: result.Throughput, Unit: result.Requests, Amount: 4, Rounds: hugeRounds,
		Cases: []benchmarks.Case{
			{Subject: s.ours(), Fill: h.sent, Drive: get},
			{Subject: subject.Nginx{}, Fill: h.asFiles, Drive: gets(1, files, h.instanceFile)},
			{Subject: subject.Orthanc{}, Fill: h.sent, Drive: get},
		},
	}
}

// sent stores the series in the subject by C-STORE, for which it need not fit
// into anybody's memory.
func (h *held) sent(ctx context.Context, at subject.Endpoints) error {
	s, err := h.get()
	if err != nil {
		return err
	}
	_, err = storescu(1, false)(ctx, benchmarks.Round{At: at, Series: s, Amount: len(s.Instances)})
	return err
}
