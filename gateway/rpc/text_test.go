package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestWhatIsNoText: an event can be told whatever its sender calls itself, and
// an act whoever did it.
func TestWhatIsNoText(t *testing.T) {
	const no = "RADIO_H\xe9"
	for _, m := range []proto.Message{
		originOf(storage.Origin{Transport: "dimse", CallingAETitle: no, CalledAETitle: no}),
		actOf(index.Act{At: 1, By: no, Why: no}),
		changeOf(&index.IdentityChange{By: no, Why: no}),
	} {
		if b, err := proto.Marshal(m); err != nil || len(b) == 0 {
			t.Errorf("%T: %v", m, err)
		}
	}
	if o := originOf(storage.Origin{CallingAETitle: no}); o.GetCallingAeTitle() != "RADIO_H\uFFFD" {
		t.Errorf("%v", o)
	}
}
