package dimse_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/dimsetest"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// people is a Finder of these studies, which tells nothing apart by itself.
type people []dicom.DataSet

func (p people) Find(_ context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		m, err := index.Compile(q)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, ds := range p {
			if m.Matches(ds) && !yield(ds, nil) {
				return
			}
		}
	}
}

func (p people) Patients(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error] {
	return p.Find(ctx, q)
}

// twoPatients have one PatientID: whose study 1.2.1 is is known to the issuer
// HUS, and that of study 1.2.2 to CLINIQUE, which has an OID too.
func twoPatients() people {
	of := func(issuer, study string) dicom.DataSet {
		return dicom.DataSet{
			{Tag: 0x00100020, VR: "LO", Values: []string{"4711"}}, {Tag: 0x00100021, VR: "LO", Values: []string{issuer}},
			{Tag: 0x0020000D, VR: "UI", Values: []string{study}},
		}
	}
	other := of("CLINIQUE", "1.2.2").With(dicom.Element{Tag: 0x00100024, VR: "SQ", Items: []dicom.DataSet{
		{{Tag: 0x00400032, VR: "UT", Values: []string{"1.2.250.1.999.2"}}},
	}})
	return people{of("HUS", "1.2.1"), other}
}

// TestRetrieveOfPatients: nothing goes out that is not of the patient whom the
// Identifier names.
func TestRetrieveOfPatients(t *testing.T) {
	h := &holder{}
	for i := range 2 {
		study := fmt.Sprintf("1.2.%d", i+1)
		h.hold(study+".1", study+".1.1", ctImageStorage, dimse.ExplicitVRLittleEndian, pattern(1000))
		h.instances[i].about.Key.StudyInstanceUID = study
	}
	addr, _ := serveHeld(t, h, func(c *dimse.Config) { c.Finder = twoPatients() })
	const both = `1.2.1\1.2.2`
	for _, c := range []struct {
		name, level                   string
		patient, issuer, oid, studies string
		want                          dimse.Status
		sent                          string // the studies
	}{
		{"patient and issuer", "PATIENT", "4711", "HUS", "", "", 0, "1.2.1"},
		{"patient and what the issuer begins with", "PATIENT", "4711", "CLI*", "", "", 0, "1.2.2"},
		{"patient and one of several issuers", "PATIENT", "4711", `ELSEWHERE\CLINIQUE`, "", "", 0, "1.2.2"},
		{"patient and an issuer that nobody has", "PATIENT", "4711", "ELSE*", "", "", 0, ""},
		{"patient and the OID of the issuer", "PATIENT", "4711", "", "1.2.250.1.999.2", "", 0, "1.2.2"},
		{"patient and the OID of no issuer", "PATIENT", "4711", "", "1.2.250.1.999.3", "", 0, ""},
		{"patients", "PATIENT", "47*", "", "", "", dimse.StatusMismatch, ""},
		{"no patient", "PATIENT", "", "HUS", "", "", dimse.StatusMismatch, ""},
		{"studies of a patient", "STUDY", "4711", "HUS", "", both, 0, "1.2.1"},
		{"studies of a patient, by OID", "STUDY", "4711", "", "1.2.250.1.999.2", both, 0, "1.2.2"},
		{"studies of another patient", "STUDY", "4712", "", "", both, 0, ""},
		{"studies of several patients", "STUDY", `4712\4713`, "", "", both, dimse.StatusMismatch, ""},
		{"studies of some patients", "STUDY", "4712*", "", "", both, dimse.StatusMismatch, ""},
		{"studies of whomever", "STUDY", "*", "", "", both, 0, both},
		{"studies", "STUDY", "", "", "", both, 0, both},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := map[dicom.Tag]string{tagPatient: c.patient, 0x00100021: c.issuer}
			if c.studies != "" {
				keys[tagStudy] = c.studies
			}
			got := mustRetrieve(t, addr, dimsetest.Retrieval{
				SOPClassUID: dimse.PatientRootGet, Level: c.level, Keys: keys, UniversalEntityID: c.oid,
				Takes: []pdu.ContextRQ{{AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{dimse.ExplicitVRLittleEndian}}},
			})
			var sent []string
			for uid := range got.DataSets {
				sent = append(sent, strings.TrimSuffix(uid, ".1.1"))
			}
			slices.Sort(sent)
			if strings.Join(sent, `\`) != c.sent || got.Last().Status != c.want {
				t.Errorf("of %q were sent, want %s; %+v", sent, c.sent, got.Last())
			}
		})
	}
}
