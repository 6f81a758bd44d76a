package rpc

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

// TestMask: what is not in the mask is left out, at every depth; a path above
// another wants all below it, in whichever order they come.
func TestMask(t *testing.T) {
	study := func() *pb.Study {
		return &pb.Study{
			StudyDate: "20260101", PatientId: "4711",
			Series: []*pb.Series{{Modality: "CT", SeriesNumber: "1"}, {Modality: "MR", SeriesNumber: "2"}},
		}
	}
	for _, c := range []struct {
		paths []string
		want  *pb.Study
	}{
		{nil, study()},
		{[]string{"*"}, study()},
		{[]string{"study_date"}, &pb.Study{StudyDate: "20260101"}},
		{[]string{"patientId"}, &pb.Study{PatientId: "4711"}},
		{[]string{"series.modality"}, &pb.Study{Series: []*pb.Series{{Modality: "CT"}, {Modality: "MR"}}}},
		{[]string{"series.modality", "series"}, &pb.Study{Series: study().Series}},
		{[]string{"series", "series.modality"}, &pb.Study{Series: study().Series}},
	} {
		m, err := newMask(&fieldmaskpb.FieldMask{Paths: c.paths}, (*pb.Study)(nil))
		if err != nil {
			t.Errorf("%v: %v", c.paths, err)
			continue
		}
		got := study()
		if m.apply(got.ProtoReflect()); !proto.Equal(got, c.want) {
			t.Errorf("%v leaves %v, want %v", c.paths, got, c.want)
		}
	}
	for _, bad := range []string{"", "nothing", "study_date.x", "series.nothing", "series.", "a.b.c"} {
		if _, err := newMask(&fieldmaskpb.FieldMask{Paths: []string{bad}}, (*pb.Study)(nil)); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("mask %q: %v", bad, err)
		}
	}
}
