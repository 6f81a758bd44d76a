package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// BenchmarkStore stores instances durably, from one sender and from several.
func BenchmarkStore(b *testing.B) {
	for _, c := range []struct {
		name string
		in   dicomtest.Instance
	}{
		{"CT526KB", dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 1}).Instances[0]},
		{"CR22KB", tiny(1, 1).Instances[0]},
	} {
		for _, senders := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%s/%d", c.name, senders), func(b *testing.B) {
				benchmarkStore(b, c.in, senders, nil)
			})
		}
	}
}

// BenchmarkStoreTraced stores small instances with and without following each.
func BenchmarkStoreTraced(b *testing.B) {
	in := tiny(1, 1).Instances[0]
	b.Run("off", func(b *testing.B) { benchmarkStore(b, in, 16, nil) })
	b.Run("on", func(b *testing.B) {
		p := sdk.NewTracerProvider(sdk.WithBatcher(tracetest.NewNoopExporter()))
		defer p.Shutdown(context.WithoutCancel(b.Context()))
		benchmarkStore(b, in, 16, trace.New(p))
	})
}

func benchmarkStore(b *testing.B, in dicomtest.Instance, senders int, tracer *trace.Tracer) {
	n := open(b, b.TempDir(), mem.New())
	dataSet := in.DataSet()
	at := bytes.Index(dataSet, []byte(in.SOPInstanceUID))
	var next atomic.Int64
	next.Store(int64(b.N) * 1e9)
	b.SetBytes(int64(len(dataSet)))
	b.SetParallelism(max(senders/2, 1)) // of 2 cores
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		mine := bytes.Clone(dataSet)
		for pb.Next() {
			number := strconv.FormatInt(next.Add(1), 10)
			copy(mine[at+len(in.SOPInstanceUID)-len(number):], number)
			ctx, span := tracer.Serve(b.Context(), "C-STORE")
			p, err := n.storer.Receive(ctx, gateway.Incoming{
				Body: bytes.NewReader(mine), Form: gateway.DataSet, TransferSyntaxUID: in.TransferSyntaxUID, SOPClassUID: in.SOPClassUID,
			})
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := p.Wait(ctx); err != nil {
				b.Error(err)
				return
			}
			span.End()
		}
	})
}
