package dimse_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// toNowhere is a Receiver that takes what comes.
func toNowhere() *memory {
	m := newMemory()
	m.receive = func(_ context.Context, in gateway.Incoming) ([]byte, error) {
		_, err := io.Copy(io.Discard, onlyWriterTo{in.Body.(io.WriterTo)})
		return nil, err
	}
	return m
}

type onlyWriterTo struct{ io.WriterTo }

func (onlyWriterTo) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

// BenchmarkStore sends instances of 526 KB, that of a CT, from our SCU to our
// SCP over the loopback interface.
func BenchmarkStore(b *testing.B) {
	for _, window := range []int{1, 16} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			addr, _ := serve(b, toNowhere(), nil)
			a := dial(b, addr, func(c *dimse.SCUConfig) { c.AsyncWindow = window })
			dataSet := pattern(526 << 10)
			b.SetBytes(int64(len(dataSet)))
			b.ReportAllocs()
			b.SetParallelism(window)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					rq := ct("1.2.3", nil)
					rq.DataSet = bytes.NewReader(dataSet)
					if status, err := a.Store(b.Context(), rq); err != nil || status.Failed() {
						b.Errorf("Store: %s, %v", status, err)
						return
					}
				}
			})
		})
	}
}
