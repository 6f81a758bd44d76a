package gateway_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestDeleteByAClockNobodyConfirms: neither does a time of grace begin by a
// clock that other nodes do not confirm, nor does one end.
func TestDeleteByAClockNobodyConfirms(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	marked, kept := tiny(1, 3), tiny(2, 2)
	k.mustStore(marked.Instances...)
	k.mustStore(kept.Instances...)
	k.pass()
	d := k.delete(marked.StudyInstanceUID)
	k.clock = fmt.Errorf("%w: the clock jumped", storage.ErrUnavailable)
	k.at = k.at.Add(2 * grace)
	if _, err := k.custodian.Delete(t.Context(), gateway.Request{StudyInstanceUID: kept.StudyInstanceUID, By: "odile", Why: "sent twice"}); !errors.Is(err, k.clock) {
		t.Errorf("deleted by a clock that is wrong: %v", err)
	}
	if err := k.sweeper.Pass(t.Context()); !errors.Is(err, k.clock) {
		t.Errorf("swept by a clock that is wrong: %v", err)
	}
	k.expectState(d.ID, index.DeletionMarked)
	if _, err := k.custodian.Undo(t.Context(), d.ID, "odile", "it was a mistake"); err != nil {
		t.Error(err)
	}
	k.expect(marked.StudyInstanceUID, marked.Instances...)
	k.expect(kept.StudyInstanceUID, kept.Instances...)

	k.clock = nil
	d = k.delete(marked.StudyInstanceUID)
	k.end()
	k.expectState(d.ID, index.DeletionRemoved)
}
