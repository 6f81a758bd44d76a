package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
)

const (
	// commandRoom is enough for any command set of ours, in the shortest PDUs too.
	commandRoom = 1 << 10
	// writeRoom is how much is written at once to peers that take short PDUs, in
	// several of them: the time to write bounds how slowly they may read.
	writeRoom = 64 << 10
)

// sendMessage sends a message with its data set, in P-DATA-TFs of at most most
// bytes, and nothing else meanwhile. The command set goes out together with the
// first fragment of the data set. When it fails, the peer may have a part of
// the message, which cannot be taken back: the association is to be aborted.
func (l *link) sendMessage(ctx context.Context, contextID byte, c *command, dataSet io.Reader, most int) error {
	l.out.Lock()
	defer l.out.Unlock()
	fragment := fragmentLength(most)
	if l.room == nil {
		l.room = make([]byte, 0, max(fragment, writeRoom)+commandRoom)
	}
	out := appendMessage(l.room, contextID, c, most)
	// One byte is read ahead, to know which fragment is the last.
	ahead, held := [1]byte{}, 0
	for last := false; !last; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		head := len(out)
		out = pdu.AppendPDV(out, pdu.PDV{ContextID: contextID})
		start := len(out)
		out = append(out, ahead[:held]...)
		room := out[len(out) : start+fragment+1]
		n, err := io.ReadFull(dataSet, room)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("reading the data set: %w", err)
		}
		last = err != nil
		length := held + n
		if !last {
			length--
			ahead[0], held = room[n-1], 1
		}
		pdu.AppendPDV(out[:head], pdu.PDV{ContextID: contextID, Last: last, Length: length})
		if out = out[:start+length]; !last && len(out)+pdu.DataOverhead+fragment < cap(out) {
			continue
		}
		if err := l.requestLocked(ul.DataRequest, out); err != nil {
			return err
		}
		out = l.room
	}
	return nil
}
