package dimse_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestFindLogsAreBounded: what a peer makes up does not fill the log, whatever
// it is called.
func TestFindLogsAreBounded(t *testing.T) {
	var log strings.Builder
	f, h := newFinder(0), &holder{}
	addr, stop := serve(t, newMemory(), func(cfg *dimse.Config) {
		cfg.Finder, cfg.Retriever, cfg.Destinations, cfg.Log = f, h, h, slog.New(slog.NewTextHandler(&log, nil))
	})
	long := strings.Repeat("LEVEL ", 20_000)
	if answer := ask(t, addr, dimsetest.Question{
		TransferSyntaxUID: dimse.ImplicitVRLittleEndian, Identifier: (&dicomtest.Builder{Implicit: true}).Text(0x00080052, "CS", long).Bytes(),
	}); answer.Last != dimse.StatusMismatch {
		t.Errorf("a long level: %s", answer.Last)
	}
	codes := make([]func(*dicomtest.Builder), 3000)
	for i := range codes {
		codes[i] = func(b *dicomtest.Builder) { b.Text(0x00080100, "SH", "1") }
	}
	ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Sequence(0x00081032, codes...).Bytes()})
	to := move(study123)
	to.Destination = long[:50_000]
	if last := mustRetrieve(t, addr, to).Last(); last.Status != dimse.StatusUnknownDestination {
		t.Errorf("a long destination: %+v", last)
	}
	stop()
	if n := log.Len(); n > 16<<10 {
		t.Errorf("the log has %d bytes", n)
	}
}

// TestFindManyTimes: an association bears any number of queries one after the
// other, and C-CANCEL-RQs of what there is not.
func TestFindManyTimes(t *testing.T) {
	const n = 1000
	f, m := newFinder(0), newMemory()
	r := findAssociation(t, f.serve(t, m, nil))
	for i := range n {
		r.send(data(1, true, true, commandSet(element{0x0100, uint16(0x0FFF)}, element{0x0120, uint16(i + 1)}, element{0x0800, uint16(0x0101)})))
		r.send(append(data(1, true, true, findRQ(uint16(i))), data(1, false, true, at("STUDY").Bytes())...))
		<-f.asked
		if status, id := r.status(); status != 0 || int(id) != i {
			t.Fatalf("%d: %04X to %d", i, status, id)
		}
	}
	if got := m.counted("C-FIND 0000"); got != n {
		t.Errorf("%d of %d were answered", got, n)
	}
}
