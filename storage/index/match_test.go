package index

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

func TestMatching(t *testing.T) {
	for _, c := range []struct {
		tag        dicom.Tag
		key, value string
		want       bool
	}{
		{tagPatientName, "MULLER*", "Müller^Jürgen", true},
		{tagPatientName, "müller^jurgen", "MULLER^JÜRGEN", true},
		{tagPatientName, "Muller", "Müller^Jürgen", false}, // single value is the whole group
		{tagPatientName, "MULLER^*", "Müller^Jürgen", true},
		{tagPatientName, "DUPONT^JEAN^^", "Dupont^Jean", true},
		{tagPatientName, "Strauss^*", "Strauß^Hans", true},
		{tagPatientName, "boeglin*", "Bœglin^Odile", true},
		{tagPatientName, "BEN  ALI^*", "Ben Ali^Inès", true},
		{tagPatientName, "山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", true},
		{tagPatientName, "やまだ^*", "Yamada^Tarou=山田^太郎=やまだ^たろう", true},
		{tagPatientName, "やまた^*", "Yamada^Tarou=山田^太郎=やまだ^たろう", false}, // another syllable
		{tagPatientName, "ﾔﾏﾀﾞ^*", "YAMADA^HANAKO=山田^花子=ヤマダ^ハナコ", true},
		{tagPatientName, "홍^길동", "Hong^Gildong=洪^吉洞=홍^길동", true},
		{tagPatientName, "=山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", true},
		{tagPatientName, "Yamada*=花*", "Yamada^Tarou=山田^太郎=やまだ^たろう", false},
		{tagPatientName, "OB^*", "OB^^^^", true}, // '^' of empty components may be there or not
		{tagPatientName, "OB^*^*", "OB", true},
		{tagPatientName, "OB^*^*", "OB^Ann", true},
		{tagPatientName, "*B^*", "OB", true},
		{tagPatientName, "*^*", "OB", true},
		{tagPatientName, "OB^ANN^*", "OB^Ann", true},
		{tagPatientName, "OB^^*", "OB", true},
		{tagPatientName, "OB^*", "OBERLE", false},
		{tagPatientName, "OB^?*", "OB", false},
		{tagPatientName, "OB^ANN^*", "OB^Anne", false},
		{tagPatientName, "Yamada^*=山田^*", "Yamada=山田", true},
		{tagPatientName, "100%*", "100%_SURE^Hans", true},
		{tagPatientName, "100%^*", "1000^Hans", false},
		{tagPatientName, "иванова*", "ИВАНОВА^Анна", true},
		{tagPatientID, "0012", "0012", true},
		{tagPatientID, "abc", "ABC", false},
		{tagPatientID, "abc ", " abc", true},
		{tagPatientID, "A_C%", "ABCD", false},
		{tagPatientID, "a*c?", "abbcd", true},
		{tagPatientID, `x\y`, "y", true},
		{tagStudyDate, "20240101", "20240101", true},
		{tagStudyDate, "20240101", "2024.01.01", true},
		{tagStudyDate, "20240101-20241231", "20241231", true},
		{tagStudyDate, "20240101-", "20231231", false},
		{tagStudyDate, "-20240101", "20240101", true},
		{tagStudyDate, "-20240101", "garbage", false},
		{0x00080030, "10", "105959.999999", true},
		{0x00080030, "10-1130", "113059", true},
		{0x00080030, "10-1130", "113100", false},
		{0x00080030, "101010.5", "101010.500000", true},
		{0x0008002A, "20240101-20240102", "20240102235959.5+0000", true},
		{0x0008002A, "20240101120000+0200", "20240101100000+0000", true},
		{0x0008002A, "2023-2024", "20240701", true},
		{tagStudyInstanceUID, "1.2,1.3", "1.3", true},
		{tagStudyInstanceUID, `1.2\1.4`, "1.3", false},
		{0x00200011, "1", "01", true},
		{0x00200011, "1", "10", false},
		{tagModality, "C?", "CT", true},
		{tagModality, "***", "CT", true},
		{tagModality, "", "CT", true},
	} {
		vr := dictionary()[c.tag].vr
		m, err := Compile(Query{Level: Image, Match: []Condition{{Path: []dicom.Tag{c.tag}, Value: c.key}}})
		if err != nil {
			t.Errorf("%s %q: %v", c.tag, c.key, err)
			continue
		}
		if got := m.Matches(dicom.DataSet{element(c.tag, vr, c.value)}); got != c.want {
			t.Errorf("%s: %q matches %q: %v", c.tag, c.key, c.value, got)
		}
	}
}

func TestFuzzyMatching(t *testing.T) {
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"jean mull", "Müller^Jean-Pierre", true},
		{"pierre muller", "Müller^Jean-Pierre", true},
		{"MULLER^PIERRE", "Müller^Jean-Pierre", true},
		{"uller", "Müller^Jean", false},
		{"jean dupont", "Müller^Jean", false},
		{"太", "Yamada^Tarou=山田^太郎", true},
		{"*", "Anybody", true},
		{"*uller*", "Müller^Jean", true}, // whatever is found without fuzzymatching is found with it
		{"*uller jea*", "Müller^Jean", true},
		{"mul?er", "Müller^Jean", true},
		{"m*an", "Müller^Jean", true},
		{"*ler^j*", "Müller^Jean", true},
		{"m?ler", "Müller^Jean", false},
		{"*eam*", "Müller^Jean", false},
	} {
		m, err := Compile(Query{Level: Study, Fuzzy: true, Match: []Condition{{Path: []dicom.Tag{tagPatientName}, Value: c.key}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Matches(dicom.DataSet{element(tagPatientName, "PN", c.value)}); got != c.want {
			t.Errorf("%q matches %q: %v", c.key, c.value, got)
		}
	}
}

func TestMatchingOfSeveralValuesAndItems(t *testing.T) {
	ds := dicom.DataSet{
		element(tagModalitiesInStudy, "CS", "CT", "SR"),
		{Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{
			{element(0x00400007, "LO", "a"), element(0x00400009, "SH", "S1")},
			{element(0x00400009, "SH", "S2")},
		}},
	}
	for value, path := range map[string][]dicom.Tag{"SR": {tagModalitiesInStudy}, "S2": {0x00400275, 0x00400009}} {
		for v, want := range map[string]bool{value: true, "nothing": false} {
			m, err := Compile(Query{Level: Series, Match: []Condition{{Path: path, Value: v}}})
			if err != nil || m.Matches(ds) != want {
				t.Errorf("%v %s: want %v, %v", path, v, want, err)
			}
		}
	}
}

// TestKeysOfOneItem: keys inside a sequence are those of one item (PS3.4
// §C.2.2.2.6). Taken each for itself, a PatientID of one issuer and another of a
// second would be found as the first of the second.
func TestKeysOfOneItem(t *testing.T) {
	other := func(id, issuer string) dicom.DataSet {
		return dicom.DataSet{element(tagPatientID, "LO", id), element(tagIssuerOfPatientID, "LO", issuer)}
	}
	ds := dicom.DataSet{{Tag: tagOtherPatientIDs, VR: "SQ", Items: []dicom.DataSet{other("4711", "A"), other("9", "B")}}}
	for _, c := range []struct {
		id, issuer string
		want       bool
	}{{"4711", "A", true}, {"9", "B", true}, {"4711", "B", false}, {"9", "A", false}, {"9", "", true}} {
		m, err := Compile(Query{Level: Study, Match: []Condition{
			{[]dicom.Tag{tagOtherPatientIDs, tagPatientID}, c.id}, {[]dicom.Tag{tagOtherPatientIDs, tagIssuerOfPatientID}, c.issuer},
		}})
		if err != nil || m.Matches(ds) != c.want {
			t.Errorf("%s of %s: want %v, %v", c.id, c.issuer, c.want, err)
		}
	}
}

func TestNonsenseIsInvalid(t *testing.T) {
	many := make([]Condition, maxConditions+1)
	for name, q := range map[string]Query{
		"level":           {},
		"negative limit":  {Level: Study, Limit: -1},
		"negative offset": {Level: Study, Offset: -1},
		"resource":        {Level: Study, StudyInstanceUID: "../x"},
		"month 13":        {Level: Study, Match: []Condition{{[]dicom.Tag{tagStudyDate}, "20241301"}}},
		"31 February":     {Level: Study, Match: []Condition{{[]dicom.Tag{tagStudyDate}, "20240231"}}},
		"backward range":  {Level: Study, Match: []Condition{{[]dicom.Tag{tagStudyDate}, "20240102-20240101"}}},
		"a lone hyphen":   {Level: Study, Match: []Condition{{[]dicom.Tag{tagStudyDate}, "-"}}},
		"hour 24":         {Level: Study, Match: []Condition{{[]dicom.Tag{0x00080030}, "2400"}}},
		"list of no UID":  {Level: Study, Match: []Condition{{[]dicom.Tag{tagStudyInstanceUID}, "1.2,x"}}},
		"1 MiB":           {Level: Study, Match: []Condition{{[]dicom.Tag{tagPatientName}, strings.Repeat("x", 1<<20)}}},
		"no path":         {Level: Study, Match: []Condition{{nil, "x"}}},
		"too many":        {Level: Study, Match: many},
	} {
		if _, err := Compile(q); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotKnownIsIgnored(t *testing.T) {
	m, err := Compile(Query{Level: Study, Match: []Condition{
		{[]dicom.Tag{tagModality}, "CT"}, {[]dicom.Tag{0x00091001}, "x"}, {[]dicom.Tag{tagPatientID}, "1"},
	}})
	if err != nil || len(m.Ignored()) != 2 {
		t.Errorf("%v, %v", m.Ignored(), err)
	}
}

func TestStarBomb(t *testing.T) {
	begin := time.Now()
	w := newWildcard(strings.Repeat("*a?", 300) + "*b")
	if w.match(strings.Repeat("a", 4000)) {
		t.Error("it has no b")
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func FuzzWildcard(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("**", "")
	f.Add("*ü?", "Müx")
	f.Fuzz(func(t *testing.T, pattern, value string) {
		if len(pattern) > 100 || len(value) > 200 || !utf8.ValidString(pattern) || !utf8.ValidString(value) {
			return
		}
		expr := strings.NewReplacer(`\*`, `(?s:.*)`, `\?`, `(?s:.)`).Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`\A` + expr + `\z`).MatchString(value)
		w := newWildcard(pattern)
		if got := w.match(value); got != want {
			t.Errorf("%q matches %q: %v", pattern, value, got)
		}
		if want && !strings.HasPrefix(value, w.prefix()) {
			t.Errorf("%q: %q would lose %q", pattern, w.prefix(), value)
		}
	})
}

func FuzzFold(f *testing.F) {
	f.Add("Müller^Jürgen=山田=やまだ")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1000 {
			return
		}
		once := fold(s)
		if twice := fold(once); twice != once {
			t.Errorf("%q folds to %q, and that to %q", s, once, twice)
		}
	})
}

func FuzzCondition(f *testing.F) {
	f.Add(uint32(tagStudyDate), "20240101-20241231", "20240301")
	f.Add(uint32(0x0008002A), "20240101-0500-", "2024")
	f.Add(uint32(tagPatientName), "A*^?", "Ab^c")
	f.Fuzz(func(_ *testing.T, tag uint32, key, value string) {
		m, err := Compile(Query{Level: Image, Match: []Condition{{[]dicom.Tag{dicom.Tag(tag)}, key}}})
		if err == nil {
			m.Matches(dicom.DataSet{element(dicom.Tag(tag), "LO", value)})
			m.narrowing().ids(Series, cursor{}, 1, 0)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	seed, err := EncodeBatch(Batch{Through: Position{"n", 1, 2}, Planned: []Plan{{
		PackID: "p", StudyInstanceUID: "1", SeriesInstanceUID: "2", SOPs: []string{"3"}, Members: make([]storage.Digest, 1),
	}}, Received: []Instance{{
		Instance:   storage.Instance{Key: storage.InstanceKey{StudyInstanceUID: "1", SeriesInstanceUID: "2", SOPInstanceUID: "3"}, Size: 9},
		Attributes: dicom.DataSet{element(tagPatientName, "PN", "x")},
	}}, Commitments: []Commitment{
		{ID: CommitmentID{"CT1", "1.2"}, Step: AskCommitment, Asked: []ClassInstances{{SOPClassUID: "1", SOPs: []string{"3"}}}},
		{ID: CommitmentID{"CT1", "1.2"}, Step: SettleCommitment, Failed: []FailedReference{{Reference: 0, Reason: 0x0112}}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := DecodeBatch(p)
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) && !errors.Is(err, storage.ErrUnsupported) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := EncodeBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeBatch(again); err != nil {
			t.Errorf("what was encoded does not decode: %v", err)
		}
	})
}
