package gateway_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"reflect"
	"slices"
	"strings"
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
	n.wantInStudies([]index.Query{by("PatientID", "0815")}, all[2], "GHR 4711 20260401")
	n.wantInStudies([]index.Query{by("PatientID", "0815", "IssuerOfPatientID", "HCC")}, all[1], all[2])
	n.wantInStudies([]index.Query{by("PatientID", "4711")}, all[0], all[1]) // as its study has it
	n.wantStudies(by("PatientID", "99"), "CHH 99 20230101")
	n.wantStudies(by("PatientID", "0815", "PatientID", "9*")) // by keyword and by tag
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
