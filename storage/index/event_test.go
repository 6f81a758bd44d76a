package index_test

import (
	"errors"
	"reflect"
	"strconv"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

func stamp(at int64) *index.Stamp { return &index.Stamp{Node: "n1", At: at, Durable: at - 1} }

func events(t *testing.T, x *index.Index, after int64) []index.Event {
	t.Helper()
	list, err := x.Events(t.Context(), after, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestEvents: a batch makes one event for each series, sender and archive,
// numbered without gaps; what changes nothing makes none, and who waits is
// woken.
func TestEvents(t *testing.T) {
	x := open(t)
	in := oneSeries()
	for i := range in {
		in[i].Received, in[i].Origin = int64(100+i), storage.Origin{Transport: "dimse", CallingAETitle: "CT1", ID: "a1"}
	}
	in[4].Origin.ID = "a2"
	happened := x.Happened()
	apply(t, x, index.Batch{Through: in[4].At, Received: in, Stamp: stamp(5_000_000)})
	select {
	case <-happened:
	default:
		t.Error("nobody is woken")
	}
	apply(t, x, index.Batch{Through: in[4].At, Received: in, Stamp: stamp(6_000_000)})                   // again
	apply(t, x, index.Batch{Received: in, Stamp: stamp(6_000_000)})                                      // duplicates
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p1", false, in...)}, Stamp: stamp(7_000_000)}) // no event
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p1", "dir:a"), archived("p1", "dir:b")}, Stamp: stamp(8_000_000)})
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p1", "dir:a")}, Stamp: stamp(9_000_000)}) // again
	aside := in[0]
	aside.Digest[0]++
	apply(t, x, index.Batch{Received: []index.Instance{aside}, Stamp: stamp(10_000_000)})

	list := events(t, x, 0)
	type brief struct {
		kind      index.EventKind
		instances int64
		what      string
	}
	want := []brief{
		{index.EventReceived, 4, "a1"}, {index.EventReceived, 1, "a2"},
		{index.EventArchived, 5, "dir:a"}, {index.EventArchived, 5, "dir:b"}, {index.EventKeptAside, 1, "a1"},
	}
	var got []brief
	for i, e := range list {
		what := e.Archive
		if what == "" {
			what = e.Origin.ID
		}
		got = append(got, brief{e.Kind, e.Instances, what})
		if e.Sequence != 5000+1+int64(i) || e.Node != "n1" || e.StudyInstanceUID != in[0].Key.StudyInstanceUID {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if e := list[0]; e.First != 100 || e.Last != 103 || e.At != 5_000_000 || e.Durable != 4_999_999 {
		t.Errorf("times of the first: %+v", e)
	}
	if rest := events(t, x, list[2].Sequence); len(rest) != 2 || rest[0].Sequence != list[3].Sequence {
		t.Errorf("after %d come %v", list[2].Sequence, rest)
	}
	if rest := events(t, x, list[4].Sequence); len(rest) != 0 {
		t.Errorf("after the last come %v", rest)
	}
	sound(t, x)
}

// TestFeedIsBounded: only the newest events are kept. Who asks for what is
// gone, or was never there, is told so and skips nothing.
func TestFeedIsBounded(t *testing.T) {
	x := open(t)
	if list := events(t, x, 0); len(list) != 0 {
		t.Fatalf("an empty feed has %v", list)
	}
	if list := events(t, x, 7); len(list) != 0 {
		t.Errorf("after what is not there yet: %v", list)
	}
	study := oneSeries()[0].Key.StudyInstanceUID
	for i := range int64(30) {
		s := stamp(1_000_000 + i)
		s.Keep = 10
		apply(t, x, index.Batch{Stamp: s, Notes: []index.Event{{Kind: index.EventRetrieved, StudyInstanceUID: study, Instances: i}}})
	}
	first, last, err := x.Feed(t.Context())
	if err != nil || first != 1021 || last != 1030 {
		t.Fatalf("the feed is %d to %d (%v)", first, last, err)
	}
	if list := events(t, x, 1020); len(list) != 10 || list[0].Sequence != 1021 || list[9].Instances != 29 {
		t.Errorf("after 1020: %v", list)
	}
	if list := events(t, x, 1035); len(list) != 0 {
		t.Errorf("after what only another node has: %v", list)
	}
	for _, after := range []int64{1, 7, 1019} {
		if _, err := x.Events(t.Context(), after, 10); !errors.Is(err, storage.ErrGone) {
			t.Errorf("after %d: %v", after, err)
		}
	}
}

// TestHistory: what happens to a series in one way is one step, however often;
// the steps of one kind are bounded, and none of their counts is lost.
func TestHistory(t *testing.T) {
	x := open(t)
	study := oneSeries()[0].Key.StudyInstanceUID
	const ways = 40
	for i := range int64(2 * ways) {
		to := storage.Origin{Transport: "wado", ID: strconv.FormatInt(i%ways, 10)}
		apply(t, x, index.Batch{Stamp: stamp(1000 + i), Notes: []index.Event{
			{Kind: index.EventRetrieved, StudyInstanceUID: study, Instances: 1, Bytes: 10, First: 500 + i, Last: 600 + i, Origin: to},
		}})
	}
	all, err := x.History(t.Context(), study)
	if err != nil || len(all) != 1 || len(all[0].Steps) != 16 {
		t.Fatalf("%+v (%v)", all, err)
	}
	var instances, bytes int64
	for _, s := range all[0].Steps {
		instances, bytes = instances+s.Instances, bytes+s.Bytes
	}
	steps := all[0].Steps
	if instances != 2*ways || bytes != 20*ways || steps[0].First != 500 || steps[0].Last != 640 || steps[15].Others != 2*(ways-16) {
		t.Errorf("%d instances, %d bytes, %+v", instances, bytes, steps)
	}
}

// TestEventsAreDeterministic: the same batches, as raft carries them, make the
// same events and the same history.
func TestEventsAreDeterministic(t *testing.T) {
	x, y := open(t), open(t)
	in := oneSeries()
	for i := range in {
		in[i].Received, in[i].Took, in[i].Origin = int64(10_000+i), 100, storage.Origin{Transport: "dimse", ID: "a1"}
	}
	pack := archived("p1", "dir:a")
	pack.Took = 50
	for _, b := range []index.Batch{
		{Through: in[2].At, Received: in[:3], Stamp: heldBy(1_000_000, "n1", "n3")},
		{Through: in[4].At, Received: in[3:], Stamp: heldBy(2_000_000, "n1", "n2")},
		{Planned: []index.Plan{planOf("p1", false, in...)}, Stamp: stamp(3_000_000)},
		{Archived: []index.PackArchive{pack}, Stamp: stamp(4_000_000), Notes: []index.Event{
			{Kind: index.EventRetrieved, StudyInstanceUID: in[0].Key.StudyInstanceUID, SeriesInstanceUID: in[0].Key.SeriesInstanceUID, Instances: 5},
		}},
	} {
		apply(t, x, b)
		p, err := index.EncodeBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		carried, err := index.DecodeBatch(p)
		if err != nil {
			t.Fatal(err)
		}
		apply(t, y, carried)
	}
	if a, b := events(t, x, 0), events(t, y, 0); len(a) != 4 || !reflect.DeepEqual(a, b) {
		t.Errorf("one has %+v\nthe other %+v", a, b)
	}
	study := in[0].Key.StudyInstanceUID
	a, err := x.History(t.Context(), study)
	b, err2 := y.History(t.Context(), study)
	if err != nil || err2 != nil || len(a) != 1 || !reflect.DeepEqual(a, b) {
		t.Fatalf("one has %+v\nthe other %+v", a, b)
	}
	received, put := a[0].Steps[0], a[0].Steps[1]
	if received.First != 10_000-100 || received.Took != 500 || !reflect.DeepEqual(received.Nodes, []string{"n1", "n2", "n3"}) {
		t.Errorf("received: %+v", received)
	}
	if put.First != pack.At-50 || put.Took != 50 {
		t.Errorf("archived: %+v", put)
	}
}

func heldBy(at int64, nodes ...string) *index.Stamp {
	s := stamp(at)
	s.Holders = nodes
	return s
}

// TestNotesAreHeldToTheirBounds: a note is no way to claim what did not follow
// from a mutation.
func TestNotesAreHeldToTheirBounds(t *testing.T) {
	x := open(t)
	for _, note := range []index.Event{
		{Kind: index.EventReceived, StudyInstanceUID: "1.2"},
		{Kind: index.EventRetrieved, StudyInstanceUID: "x"},
		{Kind: index.EventRetrieved, StudyInstanceUID: "1.2", Instances: -1},
		{Kind: index.EventCut, StudyInstanceUID: "1.2", Took: -1},
		{Kind: index.EventRetrieved, StudyInstanceUID: "1.2", Nodes: []string{"n1"}},
		{Kind: index.EventRetrieved, StudyInstanceUID: "1.2", First: 2, Last: 1},
		{Kind: index.EventRetrieved, StudyInstanceUID: "1.2", Origin: storage.Origin{ID: string(make([]byte, 1000))}},
	} {
		if _, err := x.Apply(t.Context(), index.Batch{Notes: []index.Event{note}}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%+v: %v", note, err)
		}
	}
}
