package index_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// Names are found in whatever way the index looks for them, in one answer and
// page by page, among more studies than are read at once.
func TestNamesAreFoundInOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine does it all: a race detector finds nothing here")
	}
	x, model := open(t), indextest.NewModel()
	p := indextest.Population{Seed: 11, MaxSeries: 2, MaxInstances: 1}
	batches(p, 400, 200, func(b index.Batch) {
		apply(t, x, b)
		model.Receive(b)
	})
	for _, name := range []string{
		"muller^*", "MÜLLER*", "müller", "M*", "*", "S*T*", "oberlé^J*", "oberlé^?EAN*", "*odile*", "nobody^*", "NOBODY*",
		"Yamada^*", "山田*", "=山田^*", "Y*=山*", "山田^太郎", "MULLER^JEAN", "d'argent^*", "100%_*", "Ben Ali^*", "ben*", "^*", "^JEAN", "[*", "DUPONT*MARTIN^*",
		"*e*", "*muller*", "*LLER^J*", "*^odile", "*-PIERRE^*", "*?*", "E*", "?EAN*", "*e*=*", "*太*", "*-*",
	} {
		for _, more := range [][]index.Condition{
			nil,
			{{Path: []dicom.Tag{0x00080020}, Value: "20180101-20191231"}},
			{{Path: []dicom.Tag{0x00080020}, Value: "-20191231"}, {Path: []dicom.Tag{0x00080061}, Value: "CT"}},
			{{Path: []dicom.Tag{0x00080061}, Value: `MR\DX`}},
			{{Path: []dicom.Tag{0x00100020}, Value: "0*"}},
		} {
			for _, level := range []index.Level{index.Study, index.Series} {
				holdPages(t, x, model, index.Query{Level: level, Match: append([]index.Condition{{Path: []dicom.Tag{0x00100010}, Value: name}}, more...)})
			}
		}
	}
}

// holdPages holds all answers, and a page of them, to the model.
func holdPages(t *testing.T, x *index.Index, model *indextest.Model, q index.Query) {
	t.Helper()
	want, err := model.Search(q)
	if err != nil {
		t.Fatal(err)
	}
	if got := search(t, x, q); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(jsons(got), jsons(want)) {
		t.Errorf("%+v: %d answers, want %d in their order", q, len(got), len(want))
	}
	if q.Limit, q.Offset = 10, 70; len(want) > 70 {
		if got := search(t, x, q); !reflect.DeepEqual(jsons(got), jsons(want[70:min(80, len(want))])) {
			t.Errorf("%+v: a page is not that part of all", q)
		}
	}
}

// oddNames are those of which not every part has a key of its own, or which
// have several values.
func oddNames() [][2]string { // of the patient, of who refers
	words := make([]string, 40)
	for i := range words {
		words[i] = fmt.Sprintf("W%dX", i)
	}
	doctors := make([]string, 6)
	for i := range doctors {
		doctors[i] = fmt.Sprintf("Doctor%d^Who", i)
	}
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf("N%d^G%d", i, i)
	}
	return [][2]string{
		{strings.Join(many, `\`), "A\x00B^C\x00D"}, {"A\x00B^C\x00D", ""},
		{"Long^" + strings.Join(words, " "), "Weiss^Louise"}, {"MARTIN^MART", "Weiss^Louise=ワイス"}, {"^Given", ""}, {`One^A\Other^B`, `Noël^S\Weiss^L`},
		{"Ben Ali-Klein^O'Hara", strings.Join(doctors, `\`)}, {"=花子", strings.Repeat("x", 600)}, {"", "^Only"}, {"=r", "="}, {"^", "r"},
		{"OB^^^^", "OB"}, {"OB^Ann", "OB^^"}, {"OBERLE", "OB^Ann^^"},
	}
}

// TestOddNames asks for parts of names that are kept in other ways than most,
// by the keys of few, by days where they are more, and by none.
func TestOddNames(t *testing.T) {
	for _, most := range []int{0, 2} {
		x, model := open(t), indextest.NewModel()
		x.PlanFor(most, most)
		p := indextest.Population{Seed: 12, MaxSeries: 1, MaxInstances: 1}
		for n, odd := range append(oddNames(), oddNames()...) {
			in := p.Study(n)[0]
			set := func(tag dicom.Tag, v string) {
				e := indextest.Text(tag, "PN", v)
				if v != "" {
					e.Values = strings.Split(v, `\`)
				}
				in = indextest.With(in, e)
			}
			set(0x00100010, odd[0])
			set(0x00080090, odd[1])
			if n%7 == 0 {
				in = indextest.With(in, indextest.Text(0x00080020, "DA", ""))
			}
			b := index.Batch{Received: []index.Instance{in}, Through: in.At}
			apply(t, x, b)
			model.Receive(b)
		}
		for _, asked := range []string{
			"N28^G28", "N28^G*", "*a\x00b*",
			"*w39x*", "*w3*", "w39x", "*MART", "*mart*", "MART*", "*given", "*giv*", "B", "Other^B", "*other*", "*hara*", "*li-kl*", "klein", "*klein^*",
			"ob^*", "ob^*^*", "*b^*", "ob^^*", "ob^ann^*", "ob^a*^*", "*^*", "^*", "ob^^ann*", "o?^*", "*b a*", "?b", "w?x", "o*n", "*?9x", "k*i?",
			"doctor5", "*doctor5*", "Doctor*", "*weiss*", "Weiss^L*", "weiss^louise", "*ワ*", "*xxx*", "*only*", "=花*", "*=*", "r", "*r*", "lou", "*zzz*", "^", "=", "?", "*" + strings.Repeat("w1*", 40),
		} {
			for _, tag := range []dicom.Tag{0x00100010, 0x00080090} {
				for _, fuzzy := range []bool{false, true} {
					for _, more := range [][]index.Condition{
						nil, {{Path: []dicom.Tag{0x00080020}, Value: "20150101-20301231"}}, {{Path: []dicom.Tag{0x00080061}, Value: "CT"}},
						{{Path: []dicom.Tag{0x00080090}, Value: "*e*"}}, {{Path: []dicom.Tag{0x00100020}, Value: "0*"}},
					} {
						q := index.Query{Level: index.Study, Fuzzy: fuzzy, Match: append(more, index.Condition{Path: []dicom.Tag{tag}, Value: asked})}
						holdPages(t, x, model, q)
					}
				}
			}
		}
		sound(t, x)
	}
}

// TestWordsOfDeletedStudies looks for words that no study has any more, and
// that come back.
func TestWordsOfDeletedStudies(t *testing.T) {
	x := open(t)
	in := indextest.With(indextest.Population{Seed: 13, MaxSeries: 1, MaxInstances: 1}.Study(1)[0], indextest.Text(0x00100010, "PN", "Seul^Unique"))
	asked := index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: "*niqu*"}}}
	apply(t, x, noRetention())
	apply(t, x, index.Batch{Received: []index.Instance{in}, Through: in.At})
	d := index.Deletion{ID: "D", Step: index.MarkDeletion, StudyInstanceUID: in.Key.StudyInstanceUID}
	for _, step := range []struct {
		deletion index.DeletionStep
		want     int
	}{{index.MarkDeletion, 0}, {index.UndoDeletion, 1}} {
		if got := len(search(t, x, asked)); got != 1-step.want {
			t.Fatalf("before %v: %d answers", step.deletion, got)
		}
		d.Step = step.deletion
		apply(t, x, index.Batch{Deletions: []index.Deletion{d}})
		if got := len(search(t, x, asked)); got != step.want {
			t.Errorf("after %v: %d answers", step.deletion, got)
		}
		sound(t, x)
	}
}

// TestWordsThatCome looks for words while they come: what was applied before a
// search is found by it.
func TestWordsThatCome(t *testing.T) {
	x := open(t)
	p := indextest.Population{Seed: 15, MaxSeries: 1, MaxInstances: 1}
	var applied atomic.Int64
	var searchers sync.WaitGroup
	const studies = 40
	for range 3 {
		searchers.Go(func() {
			for before := int64(0); before < studies; {
				before = applied.Load()
				found := int64(0)
				for _, err := range x.Search(t.Context(), index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: "*ommon*"}}}) {
					if err != nil {
						t.Error(err)
						return
					}
					found++
				}
				if found < before {
					t.Errorf("%d studies found of %d", found, before)
					return
				}
			}
		})
	}
	for n := range studies {
		in := indextest.With(p.Study(n)[0], indextest.Text(0x00100010, "PN", fmt.Sprintf("X%dCommon^Y", n)))
		apply(t, x, index.Batch{Received: []index.Instance{in}, Through: in.At})
		applied.Add(1)
	}
	searchers.Wait()
}

// TestNamesBeyondTheBounds: of names that nobody has little is kept, however
// many senders write them, and they are found all the same.
func TestNamesBeyondTheBounds(t *testing.T) {
	var many, long strings.Builder
	for i := range 3500 {
		fmt.Fprintf(&many, "%x=", i)
		fmt.Fprintf(&long, "%x", i)
	}
	x := open(t)
	p := indextest.Population{Seed: 16, MaxSeries: 1, MaxInstances: 1}
	const each = 3
	for n := range 2 * each {
		name := []string{many.String(), "Very^" + long.String()}[n%2]
		in := indextest.With(p.Study(n)[0], indextest.Text(0x00100010, "PN", name))
		apply(t, x, index.Batch{Received: []index.Instance{in}, Through: in.At})
	}
	for asked, want := range map[string]int{"d4e": each, "D4E*": each, "*d4f*": 2 * each, "very^*": each, "Very^" + long.String()[:900] + "*": each, "*d4fd50*": each} {
		q := index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: asked}}}
		if got := len(search(t, x, q)); got != want {
			t.Errorf("%.20q: %d answers, want %d", asked, got, want)
		}
	}
	sound(t, x)
	if kept := x.Vocabulary(t.Context()); kept > 4<<10 {
		t.Errorf("%d bytes of words are kept", kept)
	}
}

// TestNameOfManyParts: what is asked of many parts of a name makes no statement
// that takes long to be read, before a study is looked at.
func TestNameOfManyParts(t *testing.T) {
	x := open(t)
	p := indextest.Population{Seed: 17, MaxSeries: 1, MaxInstances: 1}
	in := indextest.With(p.Study(0)[0], indextest.Text(0x00100010, "PN", oddNames()[2][0]))
	apply(t, x, index.Batch{Received: []index.Instance{in}, Through: in.At})
	for parts := 1; parts < 64; parts *= 2 {
		q := index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: "*" + strings.Repeat("w1*", parts)}}}
		if n, err := x.Narrowed(t.Context(), q); err != nil || n > 4 {
			t.Errorf("%d parts are %d conditions, %v", parts, n, err)
		}
		if got := len(search(t, x, q)); parts <= 8 && got != 1 {
			t.Errorf("%d parts: %d answers", parts, got)
		}
	}
}
