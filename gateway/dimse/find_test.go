package dimse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
)

// finder is a Finder with so many studies, and then an error; asked is what it
// was asked, ended that an endless answer has ended.
type finder struct {
	studies int
	err     error
	endless bool // waits for the end of the context after the studies
	asked   chan index.Query
	ended   chan struct{}
}

func newFinder(studies int) *finder {
	return &finder{studies: studies, asked: make(chan index.Query, 10), ended: make(chan struct{}, 10)}
}

func (f *finder) Find(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		f.asked <- q
		if f.endless {
			defer func() { f.ended <- struct{}{} }()
		}
		for i := range f.studies {
			ds := dicom.DataSet{
				{Tag: 0x00080056, VR: "CS", Values: []string{"ONLINE"}},
				{Tag: 0x00100010, VR: "PN", Values: []string{"Müller^Odile"}},
				{Tag: 0x00100020, VR: "LO", Values: []string{strconv.Itoa(i)}},
				{Tag: 0x0020000D, VR: "UI", Values: []string{"1.2." + strconv.Itoa(i)}},
				{Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{{
					{Tag: 0x00400007, VR: "LO", Values: []string{"Thorax"}}, {Tag: 0x00400009, VR: "SH", Values: []string{"SPS1"}},
				}}},
			}
			if !yield(ds, nil) {
				return
			}
		}
		if f.endless {
			<-ctx.Done()
			yield(nil, ctx.Err())
			return
		}
		if f.err != nil {
			yield(nil, f.err)
		}
	}
}

func (f *finder) Patients(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return f.Find(ctx, q)
}

func (f *finder) serve(t *testing.T, m *memory, change func(*dimse.Config)) string {
	addr, _ := serve(t, m, func(cfg *dimse.Config) {
		cfg.Finder = f
		if change != nil {
			change(cfg)
		}
	})
	return addr
}

// at is an Identifier with a level and what else is added.
func at(level string) *dicomtest.Builder {
	return (&dicomtest.Builder{}).Text(0x00080052, "CS", level)
}

func ask(t *testing.T, addr string, q dimsetest.Question) *dimsetest.Answer {
	t.Helper()
	if q.SOPClassUID == "" {
		q.SOPClassUID = dimse.StudyRootFind
	}
	answer, err := dimsetest.Find(t, addr, "CIGOGNE", q)
	if err != nil {
		t.Fatalf("%+v, %v", answer, err)
	}
	return answer
}

// TestFindStatus: what is answered last, and after how many matches.
func TestFindStatus(t *testing.T) {
	const patient, study = dimse.PatientRootFind, dimse.StudyRootFind
	wrap := func(err error) error { return fmt.Errorf("%w: PatientName Müller", err) }
	noLevel := map[string]bool{"no level": true, "another level": true, "patients of the Study Root": true}
	for _, c := range []struct {
		name, class string
		identifier  *dicomtest.Builder
		relational  bool
		err         error
		want        dimse.Status
		matches     int
	}{
		{"studies", study, at("STUDY"), false, nil, dimse.StatusSuccess, 3},
		{"patients", patient, at("PATIENT"), false, nil, dimse.StatusSuccess, 3},
		{"studies of a patient", patient, at("STUDY").Text(0x00100020, "LO", "4711"), false, nil, dimse.StatusSuccess, 3},
		{"series of a study", study, at("SERIES").Text(0x0020000D, "UI", "1.2"), false, nil, dimse.StatusSuccess, 3},
		{"images of a series", study, at("IMAGE").Text(0x0020000D, "UI", "1.2").Text(0x0020000E, "UI", "1.3"), false, nil, dimse.StatusSuccess, 3},
		{"no level", study, (&dicomtest.Builder{}).Text(0x00100020, "LO", "4711"), false, nil, dimse.StatusMismatch, 0},
		{"another level", study, at("FRAME"), false, nil, dimse.StatusMismatch, 0},
		{"patients of the Study Root", study, at("PATIENT"), false, nil, dimse.StatusMismatch, 0},
		{"studies of no patient", patient, at("STUDY").Text(0x00100020, "LO", ""), false, nil, dimse.StatusMismatch, 0},
		{"studies of patients", patient, at("STUDY").Text(0x00100020, "LO", "47*"), false, nil, dimse.StatusMismatch, 0},
		{"series of two studies", study, at("SERIES").Text(0x0020000D, "UI", `1.2\1.3`), false, nil, dimse.StatusMismatch, 0},
		{"images of a study", study, at("IMAGE").Text(0x0020000D, "UI", "1.2"), false, nil, dimse.StatusMismatch, 0},
		{"images of a study, relational", study, at("IMAGE").Text(0x0020000D, "UI", "1.2"), true, nil, dimse.StatusSuccess, 3},
		{"not well-formed", study, at("STUDY").Raw(8, 0, 0x60), false, nil, dimse.StatusMismatch, 0},
		{"nonsense", study, at("STUDY"), false, wrap(storage.ErrInvalid), dimse.StatusMismatch, 3},
		{"a PatientID of several", study, at("STUDY"), false, wrap(storage.ErrConflict), dimse.StatusAmbiguous, 3},
		{"takes too long", study, at("STUDY"), false, wrap(storage.ErrTooLarge), dimse.StatusOutOfResources, 3},
		{"not now", study, at("STUDY"), false, wrap(storage.ErrUnavailable), dimse.StatusOutOfResources, 3},
		{"broken", study, at("STUDY"), false, wrap(errors.New("SQL")), dimse.StatusCannotUnderstand, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, f := newMemory(), newFinder(3)
			f.err = c.err
			q := dimsetest.Question{SOPClassUID: c.class, Identifier: c.identifier.Bytes()}
			if c.relational {
				q.Extended = []byte{1, 1, 0, 1, 1}
			}
			answer := ask(t, f.serve(t, m, nil), q)
			if answer.Last != c.want || len(answer.Matches) != c.matches {
				t.Errorf("%d matches and then %s, want %d and %s", len(answer.Matches), answer.Last, c.matches, c.want)
			}
			if strings.Contains(answer.Comment, "Müller") || len(answer.Comment) > 64 {
				t.Errorf("comment %q", answer.Comment)
			}
			if c.relational && !bytes.Equal(answer.Extended, []byte{1, 0, 0}) {
				t.Errorf("granted % x", answer.Extended)
			}
			if about := strings.Contains(answer.Comment, "QueryRetrieveLevel"); about != noLevel[c.name] {
				t.Errorf("comment %q", answer.Comment)
			}
			if m.counted("C-FIND "+c.want.String()) != 1 {
				t.Error("it was not counted")
			}
		})
	}
}

// TestFindRefused: what may not be does not get to the Finder.
func TestFindRefused(t *testing.T) {
	f := newFinder(3)
	if answer := ask(t, f.serve(t, newMemory(), nil), dimsetest.Question{}); answer.Last != dimse.StatusMismatch {
		t.Errorf("without an Identifier: %s", answer.Last)
	}
	addr := f.serve(t, newMemory(), func(cfg *dimse.Config) {
		cfg.Gatekeeper = access.Except{Gatekeeper: access.Open{}, Refused: map[access.Operation]string{access.Search: "no"}}
	})
	if answer := ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Bytes()}); answer.Last != dimse.StatusNotAuthorized {
		t.Errorf("forbidden: %s", answer.Last)
	}
	if len(f.asked) > 0 {
		t.Errorf("asked %+v", <-f.asked)
	}
	addr = f.serve(t, newMemory(), func(cfg *dimse.Config) { cfg.MaxMatches = 2 })
	if answer := ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Bytes()}); answer.Last != dimse.StatusOutOfResources || len(answer.Matches) != 2 {
		t.Errorf("more than may be: %d matches, %s", len(answer.Matches), answer.Last)
	}
	if q := <-f.asked; q.Limit != 3 {
		t.Errorf("asked for %d", q.Limit)
	}
	for _, syntaxes := range []string{"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"} {
		q := dimsetest.Question{SOPClassUID: dimse.StudyRootFind, TransferSyntaxUID: syntaxes, Identifier: at("STUDY").Bytes()}
		if _, err := dimsetest.Find(t, addr, "CIGOGNE", q); err == nil {
			t.Errorf("%s is accepted", syntaxes)
		}
	}
	addr = f.serve(t, newMemory(), func(cfg *dimse.Config) { cfg.Finder = nil })
	if _, err := dimsetest.Find(t, addr, "CIGOGNE", dimsetest.Question{SOPClassUID: dimse.StudyRootFind, Identifier: at("STUDY").Bytes()}); err == nil {
		t.Error("accepted where nobody answers")
	}
}

// TestFindKeys: what is matched and what is returned.
func TestFindKeys(t *testing.T) {
	f := newFinder(1)
	addr := f.serve(t, newMemory(), nil)
	b := (&dicomtest.Builder{}).Text(0x00080005, "CS", "ISO_IR 100").Text(0x00080052, "CS", "SERIES").Text(0x00080054, "AE", "OTHER").Text(0x00080056, "CS", "ONLINE").
		Text(0x00080060, "CS", `CT\MR`).Text(0x00080201, "SH", "+0100").Text(0x00100010, "PN", "M\xfcller*").
		Text(0x00181030, "LO", "").Text(0x0020000D, "UI", "1.2").
		Sequence(0x00400275, func(b *dicomtest.Builder) { b.Text(0x00400009, "SH", "SPS*").Text(0x00401001, "SH", "") })
	whole := b.Bytes()
	answer := ask(t, addr, dimsetest.Question{Identifier: whole, Extended: []byte{0, 0, 1}, MaxPDULength: 64})
	want := dicom.DataSet{
		{Tag: 0x00080005, VR: "CS", Values: []string{"ISO_IR 192"}},
		{Tag: 0x00080052, VR: "CS", Values: []string{"SERIES"}},
		{Tag: 0x00080054, VR: "AE", Values: []string{"CIGOGNE"}},
		{Tag: 0x00080056, VR: "CS", Values: []string{"ONLINE"}},
		{Tag: 0x00080060, VR: "CS"},
		{Tag: 0x00080201, VR: "SH"},
		{Tag: 0x00100010, VR: "PN", Values: []string{"Müller^Odile"}},
		{Tag: 0x00181030, VR: "LO"},
		{Tag: 0x0020000D, VR: "UI", Values: []string{"1.2.0"}},
		{Tag: 0x0020000E, VR: "UI"},
		{Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{{{Tag: 0x00400009, VR: "SH", Values: []string{"SPS1"}}, {Tag: 0x00401001, VR: "SH"}}}},
	}
	if !reflect.DeepEqual(answer.Matches, []dicom.DataSet{want}) || answer.Pending[0] != dimse.StatusPending {
		t.Errorf("%s %+v,\nwant %+v", answer.Pending, answer.Matches, want)
	}
	if answer.Longest > 64 {
		t.Errorf("a PDU of %d bytes", answer.Longest)
	}
	q := <-f.asked
	conditions := []index.Condition{
		{Path: []dicom.Tag{0x00080060}, Value: `CT\MR`}, {Path: []dicom.Tag{0x00100010}, Value: "Müller*"},
		{Path: []dicom.Tag{0x0020000D}, Value: "1.2"}, {Path: []dicom.Tag{0x00400275, 0x00400009}, Value: "SPS*"},
	}
	if q.Level != index.Series || !q.Fuzzy || !reflect.DeepEqual(q.Match, conditions) {
		t.Errorf("asked %+v", q)
	}
	// A key that is not known, or is of a level below, is told of and not matched.
	answer = ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Text(0x00080060, "CS", "CT").Text(0x00180024, "SH", "tse").Bytes()})
	if q := <-f.asked; answer.Pending[0] != dimse.StatusPendingWarning || len(q.Match) > 0 {
		t.Errorf("%s, asked %+v", answer.Pending, q)
	}
	if _, ok := answer.Matches[0].Get(0x00180024); ok {
		t.Error("a key that is not known is returned")
	}
	// So it is with a value where a sequence belongs, which nothing can be held against.
	answer = ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Text(0x00101002, "LO", "4711").Bytes()})
	if <-f.asked; answer.Pending[0] != dimse.StatusPendingWarning {
		t.Errorf("a value of a sequence: %s", answer.Pending)
	}
}

// TestFindCancel: a C-CANCEL-RQ, and the end of the association, end a query
// that is being answered.
func TestFindCancel(t *testing.T) {
	f := newFinder(2)
	f.endless = true
	m := newMemory()
	addr := f.serve(t, m, nil)
	answer := ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Bytes(), CancelAfter: 2})
	if answer.Last != dimse.StatusCanceled || len(answer.Matches) != 2 {
		t.Errorf("%d matches and then %s", len(answer.Matches), answer.Last)
	}
	<-f.asked
	awaitEnd(t, f)
	for _, end := range [][]byte{pdu.AppendReleaseRQ(nil), pdu.Abort{}.Append(nil), nil} {
		r := findAssociation(t, addr)
		r.send(append(data(1, true, true, findRQ(5)), data(1, false, true, at("STUDY").Bytes())...))
		<-f.asked
		if end != nil {
			r.send(end)
		} else {
			r.conn.Close()
		}
		awaitEnd(t, f)
	}
	f.endless = false
	if answer := ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Bytes()}); answer.Last != dimse.StatusSuccess {
		t.Errorf("afterwards: %s", answer.Last)
	}
}

// TestFindLogs: the log says that a question was none, and not what was asked.
func TestFindLogs(t *testing.T) {
	var log strings.Builder
	f := newFinder(0)
	f.err = fmt.Errorf("%w: %q is not a value or a range of DA", storage.ErrInvalid, "19550812x")
	addr, stop := serve(t, newMemory(), func(cfg *dimse.Config) {
		cfg.Finder, cfg.Log = f, slog.New(slog.NewTextHandler(&log, nil))
	})
	if answer := ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Text(0x00100030, "DA", "19550812x").Bytes()}); answer.Last != dimse.StatusMismatch {
		t.Errorf("%s", answer.Last)
	}
	stop()
	if said := log.String(); !strings.Contains(said, "Identifier does not match") || strings.Contains(said, "19550812") {
		t.Errorf("the log has %q", said)
	}
}

// TestFindTakesTooLong: a query has its time, and so has a peer that does not
// take its answers.
func TestFindTakesTooLong(t *testing.T) {
	f := newFinder(0)
	f.endless = true
	addr := f.serve(t, newMemory(), func(cfg *dimse.Config) { cfg.FindTimeout = 50 * time.Millisecond })
	if answer := ask(t, addr, dimsetest.Question{Identifier: at("STUDY").Bytes()}); answer.Last != dimse.StatusOutOfResources {
		t.Errorf("%s", answer.Last)
	}
	m := newMemory()
	f = newFinder(1 << 30)
	addr = f.serve(t, m, func(cfg *dimse.Config) { cfg.MaxMatches, cfg.WriteTimeout = 1<<30, 200*time.Millisecond })
	r := findAssociation(t, addr)
	r.send(append(data(1, true, true, findRQ(5)), data(1, false, true, at("STUDY").Bytes())...))
	m.await(t, dimse.OutcomeLost)
}

// TestFindBesides: with an asynchronous window there are several queries, each
// to be cancelled alone; a MessageID that is in use is a fault.
func TestFindBesides(t *testing.T) {
	f := newFinder(0)
	f.endless = true
	addr := f.serve(t, newMemory(), func(cfg *dimse.Config) { cfg.MaxOperationsPerHost = 2 })
	r := findAssociation(t, addr)
	for id := range uint16(2) {
		r.send(append(data(1, true, true, findRQ(id)), data(1, false, true, at("STUDY").Bytes())...))
		<-f.asked
	}
	r.send(append(data(1, true, true, findRQ(3)), data(1, false, true, at("STUDY").Bytes())...))
	if status, id := r.status(); dimse.Status(status) != dimse.StatusOutOfResources || id != 3 {
		t.Errorf("more than may be: %04X to %d", status, id)
	}
	r.send(data(1, true, true, commandSet(element{0x0100, uint16(0x0FFF)}, element{0x0120, uint16(1)}, element{0x0800, uint16(0x0101)})))
	if status, id := r.status(); dimse.Status(status) != dimse.StatusCanceled || id != 1 {
		t.Errorf("%04X to %d", status, id)
	}
	r = findAssociation(t, f.serve(t, newMemory(), func(cfg *dimse.Config) { cfg.ARTIM = time.Second }))
	for range 2 {
		r.send(append(data(1, true, true, findRQ(5)), data(1, false, true, at("STUDY").Bytes())...))
	}
	for r.receive() != nil { // FE00 may come before A-ABORT
	}
}

func awaitEnd(t *testing.T, f *finder) {
	t.Helper()
	select {
	case <-f.ended:
	case <-time.After(time.Minute):
		t.Fatal("the query does not end")
	}
}

func findRQ(id uint16) []byte {
	return commandSet(element{0x0002, dimse.StudyRootFind}, element{0x0100, uint16(0x0020)}, element{0x0110, id},
		element{0x0700, uint16(0)}, element{0x0800, uint16(0)})
}

// findAssociation opens context 1, Study Root FIND, with a window of 8.
func findAssociation(t *testing.T, addr string) *raw {
	t.Helper()
	b, err := (&pdu.AssociateRQ{
		ProtocolVersion: 1, CalledAETitle: "CIGOGNE", CallingAETitle: "WS1", ApplicationContextName: pdu.ApplicationContextName,
		Contexts: []pdu.ContextRQ{{ID: 1, AbstractSyntax: dimse.StudyRootFind, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
		User:     pdu.UserInformation{AsyncWindow: &pdu.AsyncWindow{MaxOperationsInvoked: 8, MaxOperationsPerformed: 1}},
	}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := connect(t, addr)
	r.send(b)
	if got := r.receive(); got[0] != byte(pdu.TypeAssociateAC) {
		t.Fatalf("the answer to the request is % x", got)
	}
	return r
}
