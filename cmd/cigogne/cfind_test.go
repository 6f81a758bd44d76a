package main

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// identifierAt is an Identifier with these keys.
func identifierAt(level string, keys ...dicom.Element) []byte {
	ds := dicom.DataSet{
		{Tag: 0x00080005, VR: "CS", Values: []string{"ISO_IR 192"}}, {Tag: 0x00080052, VR: "CS", Values: []string{level}},
	}.With(keys...)
	b, err := dicom.AppendExplicit(nil, ds)
	if err != nil {
		panic(err)
	}
	return b
}

func key(tag dicom.Tag, value string) dicom.Element {
	e := dicom.Element{Tag: tag, VR: tag.VR()}
	if value != "" {
		e.Values = strings.Split(value, `\`)
	}
	return e
}

// byCFIND asks with relational queries, in which no key is needed.
func byCFIND(t *testing.T, node *process, class, level string, keys ...dicom.Element) *dimsetest.Answer {
	t.Helper()
	answer, err := dimsetest.Find(t, node.dimse, "CIGOGNE", dimsetest.Question{
		SOPClassUID: class, Identifier: identifierAt(level, keys...), Extended: []byte{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestFindLikeQIDO: C-FIND and QIDO-RS give the same studies for the same keys,
// of several sites, in the journal and in packs, and neither what is deleted.
func TestFindLikeQIDO(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--sites", region(t), "--settle", "20ms", "--allow-delete", "--log-level", "error")
	made := func(seed uint64, id, name, modality string) dicomtest.Study {
		return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: modality, Series: 2, Instances: 1, PatientID: id, PatientName: name})
	}
	odile, jean := made(8801, "4711", "Müller^Odile", "CR"), made(8802, "4712", "Muller^Jean", "CT")
	other, zoe := made(8803, "4711", "Élan^Zoé", "CR"), made(8804, "4714", "Élan^Zoé=山田^太郎", "CR")
	gone := made(8805, "4715", "Müller^Parti", "CR")
	sender{t, node, "HTP_PACS"}.mustSend(slices.Concat(odile.Instances, jean.Instances, gone.Instances)...)
	node.archived()
	sender{t, node, "COL_PACS"}.mustSend(slices.Concat(other.Instances, zoe.Instances)...)
	node.cigogne(exitOK, "retention", "set", "0", "--study", gone.StudyInstanceUID, "-r", "test")
	node.cigogne(exitOK, "delete", gone.StudyInstanceUID, "-r", "test")
	all, err := search(t.Context(), node.web, "studies", url.Values{"StudyInstanceUID": {odile.StudyInstanceUID}})
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	date := all[0].String(0x00080020)
	const name, id, issuer, studyDate, modalities, study = 0x00100010, 0x00100020, 0x00100021, 0x00080020, 0x00080061, 0x0020000D
	for _, c := range []struct {
		level, resource string
		keys            []dicom.Element
		want            int // studies
	}{
		{"STUDY", "studies", nil, 4},
		{"STUDY", "studies", []dicom.Element{key(name, "muller*")}, 2},
		{"STUDY", "studies", []dicom.Element{key(name, "MÜLLER^?dile")}, 1},
		{"STUDY", "studies", []dicom.Element{key(name, "山田*")}, 1},
		{"STUDY", "studies", []dicom.Element{key(name, "' OR 1=1 --")}, 0},
		{"STUDY", "studies", []dicom.Element{key(id, "4712")}, 1},
		{"STUDY", "studies", []dicom.Element{key(id, "4711"), key(issuer, "HCC")}, 1},
		{"STUDY", "studies", []dicom.Element{key(studyDate, date)}, -1},
		{"STUDY", "studies", []dicom.Element{key(studyDate, date+"-")}, -1},
		{"STUDY", "studies", []dicom.Element{key(studyDate, "-19000101")}, 0},
		{"STUDY", "studies", []dicom.Element{key(modalities, "CT")}, 1},
		{"STUDY", "studies", []dicom.Element{key(modalities, `CT\CR`)}, 4},
		{"STUDY", "studies", []dicom.Element{key(study, odile.StudyInstanceUID+`\`+zoe.StudyInstanceUID+`\`+gone.StudyInstanceUID)}, 2},
		{"SERIES", "series", []dicom.Element{key(0x00080060, "CR")}, 3},
		{"IMAGE", "instances", []dicom.Element{key(0x00200013, "1"), key(study, jean.StudyInstanceUID)}, 1},
	} {
		match := url.Values{}
		for _, k := range c.keys {
			match.Set(k.Tag.String(), strings.Join(k.Values, `\`))
		}
		byWeb, err := search(t.Context(), node.web, c.resource, match)
		if err != nil {
			t.Fatal(err)
		}
		answer := byCFIND(t, node, dimse.StudyRootFind, c.level, c.keys...)
		if answer.Last != dimse.StatusSuccess || len(answer.Matches) != len(byWeb) || !slices.Equal(uids(answer.Matches), uids(byWeb)) {
			t.Errorf("%s %s: C-FIND %s %q, QIDO-RS %q", c.level, match, answer.Last, uids(answer.Matches), uids(byWeb))
		}
		if found := len(uids(byWeb)); found != c.want && c.want >= 0 || found == 0 && c.want < 0 {
			t.Errorf("%s %s: %d studies, want %d", c.level, match, found, c.want)
		}
	}
	// A PatientID of two issuers names nobody, but as a patient it is two.
	if answer := byCFIND(t, node, dimse.StudyRootFind, "STUDY", key(id, "4711")); answer.Last != dimse.StatusAmbiguous {
		t.Errorf("of two patients: %s, %q", answer.Last, uids(answer.Matches))
	}
	if _, err := search(t.Context(), node.web, "studies", url.Values{"PatientID": {"4711"}}); err == nil {
		t.Error("QIDO-RS answers with two patients")
	}
	var issuers []string
	for _, ds := range byCFIND(t, node, dimse.PatientRootFind, "PATIENT", key(id, "4711"), key(issuer, "")).Matches {
		issuers = append(issuers, ds.String(issuer))
	}
	if slices.Sort(issuers); !slices.Equal(issuers, []string{"HCC", "HUS"}) {
		t.Errorf("patients 4711 of %q", issuers)
	}
	if patients := byCFIND(t, node, dimse.PatientRootFind, "PATIENT").Matches; len(patients) != 4 {
		t.Errorf("%d patients", len(patients))
	}
}

// TestFindscu: DCMTK's findscu finds at all levels of both roots, by a name in
// Latin-1, and cancels.
func TestFindscu(t *testing.T) {
	t.Parallel()
	findscu := tool(t, "findscu")
	node := serve(t, t.TempDir(), "--log-level", "error")
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 8811, Modality: "CR", Instances: 3, PatientID: "4711", PatientName: "Müller^Odile"})
	other := dicomtest.NewStudy(dicomtest.Options{Seed: 8812, Modality: "CR", Instances: 1, PatientID: "4712", PatientName: "Müller^Jean"})
	if !pushSTOW(t.Context(), node, newLedger(), slices.Concat(study.Instances, other.Instances)) {
		t.Fatal("push failed")
	}
	host, port := node.hostPort()
	uid, series := "StudyInstanceUID="+study.StudyInstanceUID, "SeriesInstanceUID="+study.Instances[0].SeriesInstanceUID
	for _, c := range []struct {
		root  string
		level string
		keys  []string
		want  int
		says  string
	}{
		{"-P", "PATIENT", []string{"PatientName=m?ller^o*", "PatientID"}, 1, "[4711]"},
		{"-P", "STUDY", []string{"PatientID=4711", "StudyInstanceUID"}, 1, "[" + study.StudyInstanceUID},
		{"-P", "SERIES", []string{"PatientID=4711", uid, "SeriesInstanceUID"}, 1, "[" + study.Instances[0].SeriesInstanceUID},
		{"-P", "IMAGE", []string{"PatientID=4711", uid, series, "SOPInstanceUID", "InstanceNumber=2"}, 1, "[" + study.Instances[1].SOPInstanceUID},
		{"-S", "STUDY", []string{"0008,0005=ISO_IR 100", "PatientName=M\xfcller*", "NumberOfStudyRelatedInstances"}, 2, "[Müller^Odile"},
		{"-S", "STUDY", []string{"PatientName=*odile", "StudyDate=19000101-", "ModalitiesInStudy=CR"}, 1, "ISO_IR 192"},
		{"-S", "SERIES", []string{uid, "Modality", "0040,0275"}, 1, "[CR"},
		{"-S", "IMAGE", []string{uid, series, "SOPInstanceUID"}, 3, "[" + study.Instances[2].SOPInstanceUID},
		{"-S", "IMAGE", []string{uid, "SOPInstanceUID"}, 0, "DataSetDoesNotMatchSOPClass"},
		{"-S", "PATIENT", []string{"PatientID"}, 0, "DataSetDoesNotMatchSOPClass"},
	} {
		for _, syntax := range []string{"-x=", "-xi"} {
			args := []string{"-v", syntax, c.root, "-aec", "CIGOGNE", "-k", "QueryRetrieveLevel=" + c.level}
			for _, k := range c.keys {
				args = append(args, "-k", k)
			}
			text := mustRun(t, findscu, append(args, host, port)...)
			if n := strings.Count(text, "Find Response: "); n != c.want || !strings.Contains(text, c.says) {
				t.Errorf("findscu %q: %d answers, want %d and %q\n%s", args, n, c.want, c.says, text)
			}
		}
	}
	mustRun(t, findscu, "-S", "-aec", "CIGOGNE", "--cancel", "1", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", host, port)
	out := filepath.Join(t.TempDir(), "answers")
	if _, code, err := output(t.Context(), findscu, "-S", "-aec", "NOBODY", "-k", "QueryRetrieveLevel=STUDY", host, port, out); err != nil || code == 0 {
		t.Errorf("as another: exit code %d, %v", code, err)
	}
}

// TestOrthancFinds: Orthanc queries us as a modality.
func TestOrthancFinds(t *testing.T) {
	t.Parallel()
	node := serveQuiet(t)
	o := startOrthanc(t, node)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 8821, Modality: "CR", Instances: 2, PatientID: "4711", PatientName: "Müller^Odile"})
	if !pushSTOW(t.Context(), node, newLedger(), study.Instances) {
		t.Fatal("push failed")
	}
	for _, c := range []struct {
		level string
		query map[string]string
		tag   string
		want  []string
	}{
		{"Patient", map[string]string{"PatientID": "47*"}, "0010,0020", []string{"4711"}},
		{"Study", map[string]string{"PatientName": "müller*"}, "0020,000d", []string{study.StudyInstanceUID}},
		{"Series", map[string]string{"StudyInstanceUID": study.StudyInstanceUID}, "0020,000e", []string{study.Instances[0].SeriesInstanceUID}},
		{"Instance", map[string]string{"StudyInstanceUID": study.StudyInstanceUID, "SeriesInstanceUID": study.Instances[0].SeriesInstanceUID},
			"0008,0018", []string{study.Instances[0].SOPInstanceUID, study.Instances[1].SOPInstanceUID}},
	} {
		var answer struct{ Path string }
		o.call(http.MethodPost, "/modalities/cigogne/query", map[string]any{"Level": c.level, "Query": c.query}, &answer)
		var contents []map[string]struct{ Value any }
		o.call(http.MethodGet, answer.Path+"/answers?expand", nil, &contents)
		var found []string
		for _, ds := range contents {
			value, _ := ds[c.tag].Value.(string)
			found = append(found, value)
		}
		slices.Sort(found)
		if want := slices.Sorted(slices.Values(c.want)); !slices.Equal(found, want) {
			t.Errorf("%s %v: %q, want %q", c.level, c.query, found, want)
		}
	}
}
