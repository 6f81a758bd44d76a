package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestStanding: what an instance is to those that came before it.
func TestStanding(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	in := tiny(1, 1).Instances[0]
	altered := bytes.Replace(in.DataSet(), []byte("CR"), []byte("DX"), 1)
	other := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Modality: "CR", Instances: 2, PatientID: "ANOTHER"}).Instances[1]
	for _, packed := range []bool{false, true} {
		for _, c := range []struct {
			name    string
			in      dicomtest.Instance
			dataSet []byte
			first   gateway.Standing
		}{
			{"an instance", in, in.DataSet(), gateway.Stored},
			{"the same SOPInstanceUID with other bytes", in, altered, gateway.Conflict},
			{"the same StudyInstanceUID of another patient", other, other.DataSet(), gateway.Conflict},
		} {
			want := c.first
			if packed {
				want = gateway.Duplicate
			}
			for range 2 {
				receipt, err := n.storeBytes(c.in, c.dataSet)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if receipt.Standing != want {
					t.Errorf("%s (packed %t): standing %d, want %d", c.name, packed, receipt.Standing, want)
				}
				if err := n.indexer.Await(t.Context()); err != nil {
					t.Fatal(err)
				}
				want = gateway.Duplicate
			}
		}
		n.expect(in.StudyInstanceUID, in)
		n.expectConflicts(altered, other.DataSet())
		n.pass()
		n.expect(in.StudyInstanceUID, in)
		n.expectConflicts(altered, other.DataSet())
	}
}

// expectConflicts checks what is kept aside.
func (n *node) expectConflicts(want ...[]byte) {
	n.t.Helper()
	listed := 0
	for _, err := range n.finder.Conflicts(n.t.Context()) {
		if err != nil {
			n.t.Fatal(err)
		}
		listed++
	}
	if listed != len(want) {
		n.t.Errorf("%d conflicts are listed, want %d", listed, len(want))
	}
	found, err := n.reader.Instances(n.t.Context(), gateway.Selector{StudyInstanceUID: tiny(1, 1).StudyInstanceUID, Conflicts: true})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, w := range want {
		seen := 0
		for _, in := range found {
			if bytes.Equal(n.read(in, in.About().DataSet()), w) {
				seen++
			}
		}
		if seen != 1 {
			n.t.Errorf("a conflict can be retrieved %d times, want once", seen)
		}
	}
}

// TestFileMetaOfAnotherInstance: the Data Set says which instance it is; a file
// whose File Meta Information names another is kept as it came.
func TestFileMetaOfAnotherInstance(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	in := tiny(1, 1).Instances[0]
	file := append(dicomtest.FileMeta(in.SOPClassUID, "1.2.3", in.TransferSyntaxUID), in.DataSet()...)
	pending, err := n.storer.Receive(t.Context(), gateway.Incoming{Form: gateway.Part10, Body: bytes.NewReader(file)})
	if err != nil {
		t.Fatal(err)
	}
	if got := pending.Received().Key.SOPInstanceUID; got != in.SOPInstanceUID {
		t.Errorf("stored as %s, want %s", got, in.SOPInstanceUID)
	}
	if _, err := pending.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRefused: what is not kept, why, and that nothing of it is left.
func TestRefused(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	in := tiny(1, 1).Instances[0]
	cut := errors.New("the sender went away")
	large := dicomtest.NewStudy(dicomtest.Options{Seed: 2, Frames: 20}).Instances[0]
	part10 := func(transferSyntax string) io.Reader {
		return bytes.NewReader(append(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, transferSyntax), in.DataSet()...))
	}
	traversal := dicomtest.Identity(&dicomtest.Builder{}, dicomtest.CTImage, "../../x", "1.2", "1.3").Bytes()
	for _, c := range []struct {
		name string
		in   gateway.Incoming
		want error
	}{
		{"another SOPInstanceUID than announced", gateway.Incoming{Body: bytes.NewReader(in.DataSet()), SOPInstanceUID: "1.2.3", SOPClassUID: in.SOPClassUID}, storage.ErrMismatch},
		{"another SOPClassUID than announced", gateway.Incoming{Body: bytes.NewReader(in.DataSet()), SOPInstanceUID: in.SOPInstanceUID, SOPClassUID: "1.2.3"}, storage.ErrMismatch},
		{"another study than announced", gateway.Incoming{Body: bytes.NewReader(in.DataSet()), StudyInstanceUID: "1.2.3"}, storage.ErrMismatch},
		{"cut off in a value", gateway.Incoming{Body: bytes.NewReader(in.DataSet()[:5000])}, storage.ErrInvalid},
		{"nothing", gateway.Incoming{Body: strings.NewReader("")}, storage.ErrInvalid},
		{"a UID that is a path", gateway.Incoming{Body: bytes.NewReader(traversal)}, storage.ErrInvalid},
		{"too large", gateway.Incoming{Body: large.Reader()}, storage.ErrTooLarge},
		{"a sender that fails", gateway.Incoming{Body: io.MultiReader(bytes.NewReader(in.DataSet()[:5000]), broken{cut})}, cut},
		{"no DICOM file", gateway.Incoming{Form: gateway.Part10, Body: strings.NewReader(strings.Repeat("no DICOM ", 100))}, storage.ErrInvalid},
		{"a transfer syntax that is no UID", gateway.Incoming{Form: gateway.Part10, Body: part10(strings.Repeat("1.2.3.4.5.", 900) + "1")}, storage.ErrInvalid},
		{"a transfer syntax that is no text", gateway.Incoming{Form: gateway.Part10, Body: part10("1.2.\xe9")}, storage.ErrInvalid},
		{"a bare data set as a file", gateway.Incoming{Form: gateway.Part10, Body: bytes.NewReader(in.DataSet())}, storage.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.in.Form == 0 {
				c.in.Form, c.in.TransferSyntaxUID = gateway.DataSet, in.TransferSyntaxUID
			}
			if _, err := n.storer.Receive(t.Context(), c.in); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	if _, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: in.StudyInstanceUID}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("something was kept: %v", err)
	}
	if got := n.unreleased(); got != 0 {
		t.Errorf("the journal holds %d entries", got)
	}
}

// TestPart10KeepsItsMeta: a file comes back as it came, preamble and File Meta
// Information included.
func TestPart10KeepsItsMeta(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	in := tiny(1, 1).Instances[0]
	file := in.Part10()
	copy(file, "a preamble that says something")
	p, err := n.storer.Receive(t.Context(), gateway.Incoming{Form: gateway.Part10, Body: bytes.NewReader(file)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: in.StudyInstanceUID})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.read(found[0], storage.Range{Length: found[0].About().Size}); !bytes.Equal(got, file) {
		t.Error("the file came back altered")
	}
}

// TestIndexFailing: while the index takes nothing, nothing new is taken in and
// what it has is served; what was acknowledged before is indexed when it takes
// again.
func TestIndexFailing(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	study := tiny(1, 4)
	n.mustStore(study.Instances[0])
	n.expect(study.StudyInstanceUID, study.Instances[0])
	failed := make(chan struct{}, 1)
	n.proposer.fail(func(index.Batch) error {
		select {
		case failed <- struct{}{}:
		default:
		}
		return storage.ErrFull
	}, nil)
	n.mustStore(study.Instances[1])
	<-failed
	<-failed // the second attempt: the first has been noted
	if _, err := n.store(study.Instances[2]); !errors.Is(err, storage.ErrFull) {
		t.Errorf("a store while the index is full: %v", err)
	}
	n.expect(study.StudyInstanceUID, study.Instances[0])
	if found := n.search(index.Query{Level: index.Study}); len(found) != 1 {
		t.Errorf("%d studies are found", len(found))
	}
	_, err := n.reader.Instances(t.Context(), gateway.Selector{
		StudyInstanceUID: study.StudyInstanceUID, SOPInstanceUID: study.Instances[1].SOPInstanceUID,
	})
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("an instance that is acknowledged and not indexed: %v", err)
	}
	n.proposer.fail(nil, nil)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n.indexer.Await(t.Context()) != nil {
		<-tick.C
	}
	n.mustStore(study.Instances[2:]...)
	n.expect(study.StudyInstanceUID, study.Instances...)
}

// TestRestartIndexes: what is durable and not indexed when the node ends is
// indexed when it starts.
func TestRestartIndexes(t *testing.T) {
	n := open(t, t.TempDir(), mem.New())
	n.proposer.fail(func(index.Batch) error { return storage.ErrUnavailable }, nil)
	study := tiny(1, 1)
	n.mustStore(study.Instances...)
	n = n.again()
	n.expect(study.StudyInstanceUID, study.Instances...)
}

// TestRestartReadsWhatWasWritten: what an instance is like that was taken, the
// node reads its own record of it: sequences as deep as they are read at all,
// and a sender's name that is no text.
func TestRestartReadsWhatWasWritten(t *testing.T) {
	for _, depth := range []int{0, 4, 5, 9, 10, 31, 32} {
		t.Run(fmt.Sprintf("%d deep", depth), func(t *testing.T) {
			n := open(t, t.TempDir(), mem.New())
			n.proposer.fail(func(index.Batch) error { return storage.ErrUnavailable }, nil)
			in := tiny(1, 1).Instances[0]
			b := dicomtest.Identity(&dicomtest.Builder{}, in.SOPClassUID, in.SOPInstanceUID, in.StudyInstanceUID, in.SeriesInstanceUID)
			body := nested(b, depth).Bytes()
			p, err := n.storer.Receive(t.Context(), gateway.Incoming{
				Form: gateway.DataSet, TransferSyntaxUID: "1.2.840.10008.1.2.1", Body: bytes.NewReader(body),
				Origin: storage.Origin{Transport: "dimse", CallingAETitle: "RADIO_H\xe9"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			n = n.again()
			if err := n.indexer.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			found, err := n.reader.Instances(t.Context(), gateway.Selector{StudyInstanceUID: in.StudyInstanceUID})
			if err != nil || len(found) != 1 || !bytes.HasSuffix(n.read(found[0], storage.Range{Length: found[0].About().Size}), body) {
				t.Errorf("%d instances, or another, %v", len(found), err)
			}
		})
	}
}

// nested puts sequences into each other.
func nested(b *dicomtest.Builder, depth int) *dicomtest.Builder {
	if depth == 0 {
		return b.Text(0x00400440, "SH", "113850")
	}
	return b.Sequence(0x00400275, func(item *dicomtest.Builder) { nested(item, depth-1) })
}
