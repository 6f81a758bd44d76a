package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

const (
	odiles = "279035121518989"
	anyone = "162018885045327"
)

func odile() ins.Traits {
	return ins.Traits{BirthName: "MULLER", GivenNames: "ODILE MARIE", BirthDate: "19790312", Sex: "F", BirthPlace: "67482"}
}

// person is a patient of a site with studies of the given dates.
func (n *node) person(site, id, name, birth, sex string, dates ...string) {
	n.t.Helper()
	var b index.Batch
	for _, date := range dates {
		h := fnv.New64a()
		fmt.Fprint(h, site, id, date)
		uid := fmt.Sprintf("2.25.%d", h.Sum64())
		in := indextest.Population{Seed: 1, MaxSeries: 1, MaxInstances: 1}.Study(0)[0]
		in = indextest.With(in, indextest.Text(0x00100010, "PN", name), indextest.Text(0x00100020, "LO", id),
			indextest.Text(0x00100021, "LO", site), indextest.Text(0x00100030, "DA", birth), indextest.Text(0x00100040, "CS", sex),
			indextest.Text(0x00080020, "DA", date))
		in.Key = storage.InstanceKey{StudyInstanceUID: uid, SeriesInstanceUID: uid + ".1", SOPInstanceUID: uid + ".1.1"}
		in.At = index.Position{}
		b.Received = append(b.Received, in)
	}
	if _, err := n.index.Apply(n.t.Context(), b); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) patients() *gateway.Patients {
	return gateway.NewPatients(gateway.PatientsOptions{Index: n.index, Indexer: n.indexer, Proposer: n.proposer, Logger: slog.New(slog.DiscardHandler)})
}

func (n *node) assert(p *gateway.Patients, site, id, matricule string, change ...func(*gateway.Assertion)) index.IdentityChange {
	n.t.Helper()
	a := gateway.Assertion{Local: index.PatientKey{Issuer: site, PatientID: id}, Matricule: matricule, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who"}
	for _, c := range change {
		c(&a)
	}
	made, err := p.Assert(n.t.Context(), a)
	if err != nil {
		n.t.Fatal(err)
	}
	return made
}

func by(keys ...string) index.Query {
	q := index.Query{Level: index.Study}
	for i := 0; i < len(keys); i += 2 {
		var path []dicom.Tag
		for part := range strings.SplitSeq(keys[i], ".") {
			t, err := dicom.ParseTag(part)
			if err != nil {
				panic(err)
			}
			path = append(path, t)
		}
		q.Match = append(q.Match, index.Condition{Path: path, Value: keys[i+1]})
	}
	return q
}

// studiesOf lists issuer, PatientID and date of the answers.
func (n *node) studiesOf(q index.Query) (found []string, err error) {
	for ds, err := range n.finder.Find(n.t.Context(), q) {
		if err != nil {
			return found, err
		}
		found = append(found, ds.String(0x00100021)+" "+ds.String(0x00100020)+" "+ds.String(0x00080020))
	}
	return found, nil
}

func (n *node) wantStudies(q index.Query, want ...string) {
	n.t.Helper()
	if found, err := n.studiesOf(q); err != nil || !reflect.DeepEqual(found, want) {
		n.t.Errorf("%+v:\n got %v, %v\nwant %v", q.Match, found, err, want)
	}
}

// region has Odile at three sites, and others under the same PatientIDs.
func region(t *testing.T, a archive.Archive) *node {
	n := open(t, t.TempDir(), a)
	n.person("HUS", "4711", "Müller^Odile", "19790312", "F", "20240105", "20260301")
	n.person("HCC", "0815", "DUPONT^ODILE", "19790312", "", "20250101")
	n.person("GHR", "4711", "Weber^Jean", "19500101", "M", "20260401")
	n.person("CHH", "99", "MULLER^ODILE^MARIE", "19790312", "F", "20230101")
	return n
}

// TestSearchByNationalNumber: every site's studies of the person and nobody
// else's, newest first, by each way to ask.
func TestSearchByNationalNumber(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	asks := []index.Query{
		by("PatientID", odiles, "IssuerOfPatientID", "ASIP-SANTE-INS-NIR"),
		by("PatientID", odiles, "IssuerOfPatientID", ins.NIR),
		by("PatientID", odiles, "IssuerOfPatientIDQualifiersSequence.UniversalEntityID", ins.NIR),
		by("OtherPatientIDsSequence.PatientID", odiles),
		by("OtherPatientIDsSequence.PatientID", odiles, "OtherPatientIDsSequence.IssuerOfPatientID", ins.NIR),
	}
	for _, q := range asks {
		n.wantStudies(q)
	}
	for _, local := range [][2]string{{"HUS", "4711"}, {"HCC", "0815"}} {
		if made := n.assert(p, local[0], local[1], odiles); made.Kind != index.IdentityLinked {
			t.Fatalf("%v: %+v", local, made)
		}
	}
	// Data Sets that have the number for PatientID.
	n.person(ins.NIR, odiles, "MULLER^ODILE", "19790312", "F", "20220101")
	all := []string{"HUS 4711 20260301", "HCC 0815 20250101", "HUS 4711 20240105", ins.NIR + " " + odiles + " 20220101"}
	for i, q := range asks {
		n.wantStudies(q, all...)
		q.Match = append(q.Match, by("StudyDate", "20240601-20251231").Match...)
		n.wantStudies(q, all[1])
		q.Level = index.Series
		if found, err := n.studiesOf(q); err != nil || len(found) != 1 {
			t.Errorf("ask %d, series: %v, %v", i, found, err)
		}
	}
	n.wantInStudies(asks, all[1], "GHR 4711 20260401")
	for ds, err := range n.finder.Find(t.Context(), asks[0]) {
		other, _ := ds.Get(0x00101002)
		if err != nil || ds.String(0x00100021) != ins.NIR && (len(other.Items) != 1 || other.Items[0].String(0x00100020) != odiles) {
			t.Errorf("an answer without the number: %s, %v", ds.AppendJSON(nil), err)
		}
	}
	n.wantStudies(by("PatientID", anyone, "IssuerOfPatientID", ins.NIR))
	for _, bad := range []index.Query{
		by("PatientID", "279035121518988", "IssuerOfPatientID", ins.NIR),
		by("PatientID", odiles, "IssuerOfPatientID", ins.Test),
	} {
		if _, err := n.studiesOf(bad); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%+v: %v", bad.Match, err)
		}
	}
}

// wantInStudies asks below a study of the person, and below one of another: so
// C-FIND and C-MOVE do, at the levels below the patient's.
func (n *node) wantInStudies(asks []index.Query, theirs, other string) {
	n.t.Helper()
	uids := map[string]string{}
	for ds, err := range n.finder.Find(n.t.Context(), index.Query{Level: index.Study}) {
		if err != nil {
			n.t.Fatal(err)
		}
		uids[ds.String(0x00100021)+" "+ds.String(0x00100020)+" "+ds.String(0x00080020)] = ds.String(0x0020000D)
	}
	for i, q := range asks {
		for study, want := range map[string]int{theirs: 1, other: 0} {
			under, named := q, q
			under.Level, under.StudyInstanceUID = index.Series, uids[study]
			named.Match = append(slices.Clone(q.Match), by("StudyInstanceUID", uids[study]).Match...)
			for _, q := range []index.Query{under, named} {
				if found, err := n.studiesOf(q); err != nil || len(found) != want || uids[study] == "" {
					n.t.Errorf("ask %d in study %s: %v, %v", i, study, found, err)
				}
			}
		}
	}
}

// TestPriorsOfALinkedPatient: a PatientID alone asks for all of the person's
// studies, as long as it is one person's.
func TestPriorsOfALinkedPatient(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	n.assert(p, "HCC", "0815", odiles)
	n.assert(p, "HUS", "4711", odiles)
	all := []string{"HUS 4711 20260301", "HCC 0815 20250101", "HUS 4711 20240105"}
	n.wantStudies(by("PatientID", "0815"), all...)
	n.wantStudies(by("PatientID", "0815", "IssuerOfPatientID", "HCC"), all[1])
	n.wantStudies(by("PatientID", "99"), "CHH 99 20230101")
	if found, err := n.studiesOf(by("PatientID", "4711")); !errors.Is(err, storage.ErrConflict) || len(found) > 0 {
		t.Errorf("a PatientID of two persons: %v, %v", found, err)
	}
	// The same PatientID at two sites, and one person for all that.
	n.person("SEL", "0815", "Muller^Odile", "19790312", "F", "20210101")
	if _, err := n.studiesOf(by("PatientID", "0815")); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("before it is known: %v", err)
	}
	n.assert(p, "SEL", "0815", odiles)
	n.wantStudies(by("PatientID", "0815"), append(all, "SEL 0815 20210101")...)
}

// TestDoubtIsQueued: whatever speaks against a link makes none.
func TestDoubtIsQueued(t *testing.T) {
	other := func(change func(*ins.Traits)) func(*gateway.Assertion) {
		return func(a *gateway.Assertion) { change(&a.Traits) }
	}
	for _, c := range []struct {
		name, site, id, matricule string
		change                    func(*gateway.Assertion)
		why                       string
	}{
		{"another birth name than before", "HCC", "0815", odiles, other(func(t *ins.Traits) { t.BirthName = "SCHMITT" }), "other traits"},
		{"another birth place than before", "HCC", "0815", odiles, other(func(t *ins.Traits) { t.BirthPlace = "68066" }), "birth place"},
		{"a man's studies", "GHR", "4711", odiles, nil, "birth date"},
		{"another number than before", "HUS", "4711", anyone, nil, "linked with another number"},
		{"provisional", "HCC", "0815", odiles, func(a *gateway.Assertion) { a.Status = ins.Provisional }, "not qualified: PROV"},
		{"doubtful, without traits", "HCC", "0815", odiles, func(a *gateway.Assertion) { a.Status, a.Traits = ins.Doubtful, ins.Traits{} }, "not qualified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := region(t, mem.New())
			p := n.patients()
			n.assert(p, "HUS", "4711", odiles)
			change := c.change
			if change == nil {
				change = func(*gateway.Assertion) {}
			}
			made := n.assert(p, c.site, c.id, c.matricule, change)
			if made.Kind != index.IdentityQueued || !strings.Contains(made.Why, c.why) || made.By != "dr.who" || made.At == 0 {
				t.Fatalf("%+v", made)
			}
			if again := n.assert(p, c.site, c.id, c.matricule, change); again.Name != made.Name {
				t.Errorf("asserted again it is queued again: %+v", again)
			}
			queue, err := p.Queue(t.Context(), 0, 10)
			if err != nil || len(queue) != 1 || queue[0].Name != made.Name {
				t.Fatalf("queue: %+v, %v", queue, err)
			}
			n.wantStudies(by("PatientID", odiles, "IssuerOfPatientID", ins.NIR), "HUS 4711 20260301", "HUS 4711 20240105")
			settle(t, p, made)
		})
	}
}

// settle dismisses what was queued, and tries to link it.
func settle(t *testing.T, p *gateway.Patients, made index.IdentityChange) {
	t.Helper()
	linked, err := p.Settle(t.Context(), made.Name, true, "chief", "seen at the desk")
	if ins.Status(made.Status) != ins.Qualified {
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("what is not qualified is linked: %+v, %v", linked, err)
		}
		if linked, err = p.Settle(t.Context(), made.Name, false, "chief", "no"); err != nil || linked.Kind != index.IdentityDismissed {
			t.Errorf("dismissed: %+v, %v", linked, err)
		}
	} else if number, nerr := p.Number(t.Context(), made.Local); err != nil || nerr != nil || number.Matricule != made.Number || linked.By != "chief" {
		t.Errorf("linked: %+v, %v, %v", linked, err, nerr)
	}
	if queue, err := p.Queue(t.Context(), 0, 10); err != nil || len(queue) != 0 {
		t.Errorf("queue: %+v, %v", queue, err)
	}
	if _, err := p.Settle(t.Context(), made.Name, false, "chief", ""); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("settled twice: %v", err)
	}
}

// TestALinkEnds when it is undone, and when the identity is no longer
// qualified.
func TestALinkEnds(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	local := index.PatientKey{Issuer: "HUS", PatientID: "4711"}
	if _, err := p.Undo(t.Context(), local, "chief", ""); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
	first := n.assert(p, "HUS", "4711", odiles)
	if again := n.assert(p, "HUS", "4711", odiles); again.Name != first.Name {
		t.Errorf("asserted again: %+v", again)
	}
	if undone, err := p.Undo(t.Context(), local, "chief", "wrong desk"); err != nil || undone.Kind != index.IdentityUndone || undone.Number != odiles {
		t.Fatalf("%+v, %v", undone, err)
	}
	n.wantStudies(by("PatientID", odiles, "IssuerOfPatientID", ins.NIR))
	n.assert(p, "HUS", "4711", odiles)
	if made := n.assert(p, "HUS", "4711", odiles, func(a *gateway.Assertion) { a.Status = ins.Doubtful }); made.Kind != index.IdentityQueued || !made.Unlinks {
		t.Errorf("doubtful by now: %+v", made)
	}
	n.wantStudies(by("PatientID", odiles, "IssuerOfPatientID", ins.NIR))
	history, err := p.History(t.Context(), local, 0, 10)
	if err != nil || len(history) != 4 || history[1].Why != "wrong desk" || history[3].Sequence <= history[2].Sequence {
		t.Errorf("history: %+v, %v", history, err)
	}
}

func TestAssertionsThatAreRefused(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	for name, spoil := range map[string]func(*gateway.Assertion){
		"a wrong key":           func(a *gateway.Assertion) { a.Matricule = "279035121518988" },
		"a test number":         func(a *gateway.Assertion) { a.OID = ins.Test },
		"no status":             func(a *gateway.Assertion) { a.Status = "" },
		"a trait missing":       func(a *gateway.Assertion) { a.Traits.BirthPlace = "" },
		"nobody":                func(a *gateway.Assertion) { a.By = "" },
		"no issuer":             func(a *gateway.Assertion) { a.Local.Issuer = "" },
		"an issuer nobody knew": func(a *gateway.Assertion) { a.Local.Issuer = "unknown:CT1" },
		"no PatientID":          func(a *gateway.Assertion) { a.Local.PatientID = " " },
		"a national identity":   func(a *gateway.Assertion) { a.Local.Issuer = ins.NIR },
	} {
		a := gateway.Assertion{Local: index.PatientKey{Issuer: "HUS", PatientID: "4711"}, Matricule: odiles, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who"}
		spoil(&a)
		if made, err := p.Assert(t.Context(), a); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, made, err)
		}
	}
}

// TestTwoAtATime: of several who link one identity at the same time, with
// several numbers, one does; the others wait for a person.
func TestTwoAtATime(t *testing.T) {
	n := region(t, mem.New())
	p := n.patients()
	numbers := []string{odiles, anyone, "274075176079430", "180122A12345602"}
	made := make([]index.IdentityChange, len(numbers))
	var all sync.WaitGroup
	for i, m := range numbers {
		all.Go(func() {
			var err error
			a := gateway.Assertion{Local: index.PatientKey{Issuer: "HUS", PatientID: "4711"}, Matricule: m, OID: ins.NIR, Status: ins.Qualified, Traits: odile(), By: "dr.who"}
			if made[i], err = p.Assert(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	linked := 0
	for _, m := range made {
		if m.Kind == index.IdentityLinked {
			linked++
		}
	}
	if queue, err := p.Queue(t.Context(), 0, 10); err != nil || linked != 1 || len(queue) != len(numbers)-1 {
		t.Errorf("%d linked, %d queued, %v", linked, len(queue), err)
	}
}

// TestLinksSurviveARebuild: what was decided is in the archive, and an index
// made anew has the same links, queue and history.
func TestLinksSurviveARebuild(t *testing.T) {
	a := mem.New()
	n := region(t, a)
	p := n.patients()
	keeper := gateway.NewIdentityKeeper(n.index, n.proposer, a, slog.New(slog.DiscardHandler))
	n.assert(p, "HUS", "4711", odiles)
	n.assert(p, "HCC", "0815", odiles)
	if err := keeper.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Undo(t.Context(), index.PatientKey{Issuer: "HCC", PatientID: "0815"}, "chief", ""); err != nil {
		t.Fatal(err)
	}
	queued := n.assert(p, "GHR", "4711", odiles)
	if err := keeper.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := n.index.UnkeptIdentities(t.Context(), 10); err != nil || len(left) != 0 {
		t.Fatalf("not kept: %+v, %v", left, err)
	}
	fresh := open(t, t.TempDir(), a)
	for range 2 { // the second time everything is known
		done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh.index, Archives: []archive.Archive{a, a}, Journal: fresh.journal})
		if err != nil || done.Problems != 0 {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	again := fresh.patients()
	for _, local := range []index.PatientKey{{Issuer: "HUS", PatientID: "4711"}, {Issuer: "HCC", PatientID: "0815"}, {Issuer: "GHR", PatientID: "4711"}} {
		want, err := p.History(t.Context(), local, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.History(t.Context(), local, 0, 10)
		if err != nil || !reflect.DeepEqual(plain(got), plain(want)) || len(got) == 0 {
			t.Errorf("%v:\n got %+v, %v\nwant %+v", local, got, err, want)
		}
	}
	identities, err := again.Identities(t.Context(), odiles, ins.NIR)
	if err != nil || len(identities) != 1 || identities[0].Issuer != "HUS" {
		t.Errorf("linked: %v, %v", identities, err)
	}
	if queue, err := again.Queue(t.Context(), 0, 10); err != nil || len(queue) != 1 || queue[0].Name != queued.Name {
		t.Errorf("queue: %+v, %v", queue, err)
	}
	if left, err := fresh.index.UnkeptIdentities(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("to be kept again: %+v, %v", left, err)
	}
}

// plain is changes as the archive has them.
func plain(changes []index.IdentityChange) string {
	b, err := json.Marshal(changes)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestSites(t *testing.T) {
	site := func(name string, titles []string, networks ...string) gateway.Site {
		s := gateway.Site{SenderInfo: storage.SenderInfo{Name: name, Issuer: storage.Issuer{Name: name}}, CallingAETitles: titles}
		for _, n := range networks {
			s.Networks = append(s.Networks, netip.MustParsePrefix(n))
		}
		return s
	}
	sites, err := gateway.NewSites([]gateway.Site{
		site("A", []string{"PACS_*", "CT1"}, "192.0.2.0/24"), site("B", []string{"PACS_B*", "?T1"}, "192.0.2.128/25", "2001:db8::/32"),
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ae, addr, want string }{
		{"PACS_1", "", "A"}, {"PACS_B7", "", "B"}, {"CT1", "", "A"}, {"MT1", "", "B"}, {" CT1 ", "", "A"}, {"CT12", "", ""},
		{"", "192.0.2.7:104", "A"}, {"", "192.0.2.200:104", "B"}, {"", "[2001:db8::1]:104", "B"}, {"", "[::ffff:192.0.2.7]:104", "A"},
		{"MT1", "192.0.2.7:104", "B"}, {"", "198.51.100.1:1", ""}, {"", "", ""}, {"", "nonsense", ""},
	} {
		if got, ok := sites.Of(c.ae, "", c.addr); got.Info().Name != c.want || ok != (c.want != "") {
			t.Errorf("%q from %q is of %q, want %q", c.ae, c.addr, got.Info().Name, c.want)
		}
	}
}

// TestOppositionByEitherName: a site's patient who opposes is found to, by
// whichever name of its issuer a study has them, and by whichever it was said.
func TestOppositionByEitherName(t *testing.T) {
	sites, err := gateway.NewSites([]gateway.Site{
		{SenderInfo: storage.SenderInfo{Name: "A", Issuer: storage.Issuer{Name: "HUS", UniversalID: "1.2.250.1.999.1"}}},
		{SenderInfo: storage.SenderInfo{Name: "B", Issuer: storage.Issuer{Name: "PACS", UniversalID: "1.2.250.1.999.2"}}},
		{SenderInfo: storage.SenderInfo{Name: "C", Issuer: storage.Issuer{Name: "PACS", UniversalID: "1.2.250.1.999.3"}}},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := region(t, mem.New())
	p := gateway.NewPatients(gateway.PatientsOptions{Index: n.index, Indexer: n.indexer, Proposer: n.proposer, Sites: sites, Logger: slog.New(slog.DiscardHandler)})
	of := func(issuer string) index.PatientKey { return index.PatientKey{Issuer: issuer, PatientID: "4711"} }
	for _, c := range []struct {
		said, ended string
		known, not  []string
	}{
		{"HUS", "1.2.250.1.999.1", []string{"HUS", "1.2.250.1.999.1"}, []string{"A", "1.2.250.1.999.2"}},
		{"1.2.250.1.999.1", "HUS", []string{"HUS", "1.2.250.1.999.1"}, []string{"PACS", "1.2.250.1.999.2"}},
		{"1.2.250.1.999.2", "1.2.250.1.999.2", []string{"1.2.250.1.999.2"}, []string{"PACS", "1.2.250.1.999.3"}},
		{"HCC", "HCC", []string{"HCC"}, []string{"HUS"}},
	} {
		if err := p.Oppose(t.Context(), of(c.said), true, "chief", ""); err != nil {
			t.Fatal(err)
		}
		for _, issuer := range c.known { // which is what a delivery asks
			if is, err := n.index.Opposes(t.Context(), of(issuer)); err != nil || !is {
				t.Errorf("%s was said, and %s does not oppose: %v", c.said, issuer, err)
			}
		}
		for _, issuer := range c.not {
			if is, err := n.index.Opposes(t.Context(), of(issuer)); err != nil || is {
				t.Errorf("%s was said, and %s opposes: %v", c.said, issuer, err)
			}
		}
		if is, err := p.Opposes(t.Context(), of(c.ended)); err != nil || !is {
			t.Errorf("%s was said, and asked about %s: %v", c.said, c.ended, err)
		}
		if err := p.Oppose(t.Context(), of(c.ended), false, "chief", ""); err != nil {
			t.Fatal(err)
		}
		for _, issuer := range c.known {
			if is, err := n.index.Opposes(t.Context(), of(issuer)); err != nil || is {
				t.Errorf("%s was ended, and %s opposes: %v", c.ended, issuer, err)
			}
		}
	}
	if err := p.Oppose(t.Context(), of("PACS"), true, "chief", ""); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("the issuer of two sites: %v", err)
	}
}

// TestOppositionsSurviveARebuild: who does not want to be in the shared record
// is not forgotten with the index, however they are known, and who has changed
// their mind neither.
func TestOppositionsSurviveARebuild(t *testing.T) {
	a := mem.New()
	n := region(t, a)
	p := n.patients()
	local, national := index.PatientKey{Issuer: "HUS", PatientID: "4711"}, index.PatientKey{Issuer: ins.NIR, PatientID: odiles}
	mind := index.PatientKey{Issuer: "HCC", PatientID: "0815"}
	for _, c := range []struct {
		key     index.PatientKey
		opposes bool
	}{{local, true}, {local, true}, {national, true}, {mind, true}, {mind, false}, {index.PatientKey{Issuer: "HCC", PatientID: "1"}, false}} {
		if err := p.Oppose(t.Context(), c.key, c.opposes, "chief", "said so"); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []index.PatientKey{
		{Issuer: ins.NIR, PatientID: "279035121518900"}, {Issuer: ins.Test, PatientID: odiles}, {Issuer: "", PatientID: "1"}, {Issuer: "HUS"},
		{Issuer: storage.AssumedIssuer + "X", PatientID: "1"},
	} {
		if err := p.Oppose(t.Context(), key, true, "chief", ""); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%v: %v", key, err)
		}
	}
	if history, err := p.History(t.Context(), mind, 0, 10); err != nil || len(history) != 2 || history[1].Kind != index.IdentityUnopposed {
		t.Errorf("%+v, %v", history, err)
	}
	if err := gateway.NewIdentityKeeper(n.index, n.proposer, a, slog.New(slog.DiscardHandler)).Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := open(t, t.TempDir(), a)
	done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh.index, Archives: []archive.Archive{a}, Journal: fresh.journal})
	if err != nil || done.Problems != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for key, want := range map[index.PatientKey]bool{local: true, national: true, mind: false} {
		if is, err := fresh.patients().Opposes(t.Context(), key); err != nil || is != want {
			t.Errorf("%v opposes: %t, %v", key, is, err)
		}
	}
}
