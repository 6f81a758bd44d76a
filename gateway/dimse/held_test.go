package dimse_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	tagPatient dicom.Tag = 0x00100020
	tagStudy   dicom.Tag = 0x0020000D
	tagSeries  dicom.Tag = 0x0020000E
	tagSOP     dicom.Tag = 0x00080018
)

// held is an instance whose stored form is prefix and a Data Set.
type held struct {
	gateway.Instance
	about   storage.Instance
	dataSet []byte
	open    error  // in place of the instance
	breaks  int    // behind so many bytes of the Data Set it rots, 0 is never
	halfway func() // when half of it was read, nil is nothing
}

const heldPrefix = 140

func (h *held) About() storage.Instance { return h.about }

func (h *held) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if h.open != nil {
		return nil, h.open
	}
	if r.Offset != 0 || r.Length != h.about.Size {
		return nil, fmt.Errorf("%w: a part, which is not compared", storage.ErrInvalid)
	}
	whole := append(make([]byte, heldPrefix), h.dataSet...)
	if h.breaks > 0 {
		return io.NopCloser(io.MultiReader(bytes.NewReader(whole[:heldPrefix+h.breaks]), broken{})), nil
	}
	if h.halfway != nil {
		half := len(whole) / 2
		return io.NopCloser(io.MultiReader(bytes.NewReader(whole[:half]), called(h.halfway), bytes.NewReader(whole[half:]))), nil
	}
	return io.NopCloser(bytes.NewReader(whole)), nil
}

// called is empty, and calls when it is read.
type called func()

func (c called) Read([]byte) (int, error) { c(); return 0, io.EOF }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, storage.ErrCorrupt }

// holder has instances, and addresses of AE titles.
type holder struct {
	instances []*held
	addresses map[string]string

	mu   sync.Mutex
	sent []gateway.Sending
}

// hold adds an instance of study 1.2.3.
func (h *holder) hold(series, uid, sopClass, transferSyntax string, dataSet []byte) {
	in := &held{dataSet: dataSet, about: storage.Instance{
		Key:         storage.InstanceKey{StudyInstanceUID: "1.2.3", SeriesInstanceUID: series, SOPInstanceUID: uid},
		SOPClassUID: sopClass, TransferSyntaxUID: transferSyntax, Prefix: heldPrefix, Size: heldPrefix + int64(len(dataSet)),
	}}
	h.instances = append(h.instances, in)
}

// holdCT holds n CT images, of some KiB each.
func (h *holder) holdCT(n int) {
	for i := range n {
		h.hold("1.2.3.4", fmt.Sprintf("1.2.3.4.%d", i), ctImageStorage, dimse.ExplicitVRLittleEndian, pattern(1000+2*i))
	}
}

func (h *holder) Instances(_ context.Context, sel gateway.Selector) (found []gateway.Instance, err error) {
	for _, in := range h.instances {
		key := in.about.Key
		if sel.StudyInstanceUID == key.StudyInstanceUID && (sel.SeriesInstanceUID == "" || sel.SeriesInstanceUID == key.SeriesInstanceUID) &&
			(sel.SOPInstanceUID == "" || sel.SOPInstanceUID == key.SOPInstanceUID) {
			found = append(found, in)
		}
	}
	if len(found) == 0 {
		return nil, storage.ErrNotFound
	}
	return found, nil
}

func (h *holder) Address(title string) string { return h.addresses[title] }

func (h *holder) Sent(s gateway.Sending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, s)
}

// serveHeld serves what h holds, and a destination called DEST.
func serveHeld(t *testing.T, h *holder, change func(*dimse.Config)) (addr string, dest *memory) {
	t.Helper()
	dest = newMemory()
	at, _ := serve(t, dest, func(c *dimse.Config) { c.AETitle = "DEST" })
	if h.addresses == nil {
		h.addresses = map[string]string{"DEST": at}
	}
	addr, _ = serve(t, newMemory(), func(c *dimse.Config) {
		c.Retriever, c.Destinations, c.Sent = h, h, h
		if change != nil {
			change(c)
		}
	})
	return addr, dest
}

func move(keys map[dicom.Tag]string) dimsetest.Retrieval {
	return dimsetest.Retrieval{SOPClassUID: dimse.StudyRootMove, Destination: "DEST", Level: "STUDY", Keys: keys}
}

var study123 = map[dicom.Tag]string{tagStudy: "1.2.3"}

func mustRetrieve(t *testing.T, addr string, r dimsetest.Retrieval) *dimsetest.Retrieved {
	t.Helper()
	got, err := dimsetest.Retrieve(t, addr, "CIGOGNE", r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
