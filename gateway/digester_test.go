package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestDigests: whether an instance is digested while it comes, later or partly
// so, its Digest is that of its bytes. Others that are on their way leave no
// core to do it later.
func TestDigests(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	sizes := []int{1 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000, 768 << 10, 768<<10 + 1, 3 << 20}
	for _, beside := range []int{0, runtime.GOMAXPROCS(0)} {
		release := n.hold(beside)
		for _, size := range sizes {
			uid := fmt.Sprintf("1.2.%d.%d", 1+beside, size)
			b := dicomtest.Identity(new(dicomtest.Builder), dicomtest.CTImage, uid, "1.2.3", "1.2.3.4")
			dataSet := bytes.Clone(b.Binary(0x7FE00010, "OW", bytes.Repeat([]byte("digest"), size/6)).Bytes())
			for _, body := range []io.Reader{bytes.NewReader(dataSet), iotest.HalfReader(bytes.NewReader(dataSet))} {
				p, err := n.storer.Receive(t.Context(), gateway.Incoming{Body: body, Form: gateway.DataSet, TransferSyntaxUID: dicomtest.ExplicitLE})
				if err != nil {
					t.Fatal(err)
				}
				receipt, err := p.Wait(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if receipt.Digest != storage.DigestOf(dataSet) {
					t.Errorf("%d bytes with %d others: another Digest", len(dataSet), beside)
				}
			}
		}
		release()
	}
}

// hold begins to store instances that do not come to their end before release
// is called.
func (n *node) hold(instances int) (release func()) {
	var held sync.WaitGroup
	var senders []*io.PipeWriter
	for range instances {
		body, sender := io.Pipe()
		held.Go(func() {
			_, err := n.storer.Receive(n.t.Context(), gateway.Incoming{Body: body, Form: gateway.DataSet, TransferSyntaxUID: dicomtest.ExplicitLE})
			if err == nil {
				n.t.Error("what broke off was stored")
			}
		})
		if _, err := sender.Write([]byte{8}); err != nil { // it returns when this is read
			n.t.Fatal(err)
		}
		senders = append(senders, sender)
	}
	return func() {
		for _, s := range senders {
			s.CloseWithError(io.ErrUnexpectedEOF)
		}
		held.Wait()
	}
}
