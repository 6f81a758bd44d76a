package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestOfARetiredJournal: the index passes over what comes of a journal that is
// retired, and nobody is told that it has it.
func TestOfARetiredJournal(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9, Modality: "CR", Instances: 2})
	n.mustStore(study.Instances[0])
	if err := n.indexer.AwaitOwn(t.Context()); err != nil {
		t.Fatal(err)
	}
	retire := index.Batch{Journals: []index.JournalChange{{Journal: index.JournalID(n.journal.ID()), Retired: true}}}
	if err := n.proposer.Propose(t.Context(), retire); err != nil {
		t.Fatal(err)
	}
	n.mustStore(study.Instances[1]) // it is in the journal, and others take it over
	if err := n.indexer.AwaitOwn(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("what the index passed over is said to be in it: %v", err)
	}
	if err := n.indexer.Failing(); !errors.Is(err, journal.ErrRetired) {
		t.Errorf("the indexer says %v", err)
	}
}

// TestQueueBytes: instances of many attributes are not all held while the index
// is slow, and are all indexed in the end, once and in order.
func TestQueueBytes(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9, Modality: "CR", Instances: 1})
	n.mustStore(study.Instances...)
	if err := n.indexer.Await(t.Context()); err != nil { // it relies on its queue now
		t.Fatal(err)
	}
	var mu sync.Mutex
	var most, rows int
	var last index.Position
	began, release := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(began); <-release })
	n.proposer.fail(func(b index.Batch) error {
		first()
		mu.Lock()
		defer mu.Unlock()
		size := 0
		for _, in := range b.Received {
			size += textOf(in.Attributes)
			if in.At.Segment < last.Segment || in.At.Segment == last.Segment && in.At.Offset <= last.Offset {
				t.Errorf("%v is indexed after %v", in.At, last)
			}
			last = in.At
		}
		most, rows = max(most, size), rows+len(b.Received)
		return nil
	}, nil)
	// 400 instances with 105 KB of attributes are 42 MB.
	const count = 400
	for i := range count {
		if err := n.storeWordy(fmt.Sprintf("1.2.3.%d", i)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-began
		}
	}
	close(release)
	if err := n.indexer.Await(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if rows != count {
		t.Errorf("%d instances are indexed, want %d", rows, count)
	}
	if limit := 10 << 20; most > limit {
		t.Errorf("a batch has %d bytes of attributes, of at most %d", most, limit)
	}
	if most == 0 {
		t.Error("the attributes are not there: the test shows nothing")
	}
}

func textOf(ds dicom.DataSet) (n int) {
	for _, e := range ds {
		for _, v := range e.Values {
			n += len(v)
		}
		for _, item := range e.Items {
			n += textOf(item)
		}
	}
	return n
}

// storeWordy stores an instance with 105 KB of attributes that are indexed.
func (n *node) storeWordy(sop string) error {
	var b []byte
	element := func(tag dicom.Tag, vr, value string) {
		if len(value)%2 == 1 {
			value += "\x00"
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(tag>>16))
		b = binary.LittleEndian.AppendUint16(b, uint16(tag))
		b = append(b, vr...)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	words := strings.Repeat("words ", 2500)
	element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7")
	element(0x00080018, "UI", sop)
	for _, tag := range []dicom.Tag{0x00080070, 0x00080080, 0x00081030, 0x0008103E, 0x00081040, 0x00081090} {
		element(tag, "LO", words)
	}
	element(0x00100020, "LO", "P")
	element(0x0020000D, "UI", "1.2.3")
	element(0x0020000E, "UI", "1.2.3")
	element(0x00700081, "LO", words)
	p, err := n.storer.Receive(n.t.Context(), gateway.Incoming{
		Body: bytes.NewReader(b), Form: gateway.DataSet, TransferSyntaxUID: "1.2.840.10008.1.2.1",
	})
	if err != nil {
		return err
	}
	_, err = p.Wait(n.t.Context())
	return err
}
