package line

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pump carries packets one way.
type pump struct {
	from, to *os.File
	delay    time.Duration
	perByte  float64 // nanoseconds
	queue    chan packet
	pool     sync.Pool
}

type packet struct {
	buf *[]byte
	n   int
	at  time.Time // when it arrives
}

const (
	virtioHeader = 10
	maxPacket    = virtioHeader + 65535
	// inFlight is in packets: a window of 32 MB in the smallest packets that
	// bulk transfers are made of.
	inFlight = 1 << 15
)

func newPump(from, to *os.File, o Options) *pump {
	return &pump{
		from: from, to: to, delay: o.RTT / 2, perByte: 8e9 / float64(o.Rate),
		queue: make(chan packet, inFlight),
		pool:  sync.Pool{New: func() any { b := make([]byte, maxPacket); return &b }},
	}
}

// read puts packets on the line until from is closed.
func (p *pump) read() {
	defer close(p.queue)
	var free time.Time // when the line has sent all that came before
	for {
		buf, ok := p.pool.Get().(*[]byte)
		if !ok {
			return
		}
		n, err := p.from.Read(*buf)
		if err != nil {
			return
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(float64(wireBytes((*buf)[:n])) * p.perByte))
		p.queue <- packet{buf, n, free.Add(p.delay)}
	}
}

// write takes packets off the line when they arrive.
func (p *pump) write() {
	// The runtime's own timers may be a millisecond late, which is as much as
	// the shortest line is long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for k := range p.queue {
		if wait := time.Until(k.at); wait > 0 {
			t := unix.NsecToTimespec(int64(wait))
			unix.Nanosleep(&t, nil) //nolint:errcheck // a packet that a signal makes early does no harm
		}
		p.to.Write((*k.buf)[:k.n]) //nolint:errcheck // while the line is closed packets go nowhere
		p.pool.Put(k.buf)
	}
}

// wireBytes is what a packet of TCP takes on Ethernet: handed over in bulk, it
// would be many, each with headers of its own.
func wireBytes(b []byte) int {
	const (
		headers  = 20 + 32         // IPv4, TCP with timestamps
		ethernet = 14 + 4 + 8 + 12 // header, check sequence, preamble, gap
		gsoSize  = 4               // offset in the header of virtio
	)
	segments := 1
	if size := int(binary.NativeEndian.Uint16(b[gsoSize:])); size > 0 {
		segments = max(1, (len(b)-virtioHeader-headers+size-1)/size)
	}
	return len(b) - virtioHeader + (segments-1)*headers + segments*ethernet
}
