package rpc

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// FuzzToken: whatever a caller gives as a page token is read or refused.
func FuzzToken(f *testing.F) {
	question := []byte("12345678")
	good, err := writeToken(question, index.Place{StudyDate: "20260101", StudyInstanceUID: "1.2.3"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("e30")
	f.Fuzz(func(t *testing.T, text string) {
		var at index.Place
		err := readToken(text, question, &at)
		if err != nil && !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
		if text == good && at.StudyInstanceUID != "1.2.3" {
			t.Errorf("a token that was given is read as %v", at)
		}
	})
}

// FuzzMask: whatever a caller gives as a field mask is applied or refused.
func FuzzMask(f *testing.F) {
	f.Add("series.modality,studyDate")
	f.Add("series.attributes.values,..,*")
	f.Fuzz(func(t *testing.T, paths string) {
		m, err := newMask(&fieldmaskpb.FieldMask{Paths: strings.Split(paths, ",")}, (*pb.Study)(nil))
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%q: %v", paths, err)
			}
			return
		}
		m.apply((&pb.Study{Series: []*pb.Series{{Modality: "CT", Attributes: []*pb.Attribute{{Vr: "CS"}}}}}).ProtoReflect())
	})
}
