package dimse

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAcknowledge returns a function that makes the kernel acknowledge what
// has arrived without delay. Linux forgets TCP_QUICKACK, so it is to be
// called after each read.
func quickAcknowledge(c net.Conn) func() {
	none := func() {}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return none
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return none
	}
	set := func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) // a hint
	}
	return func() { _ = raw.Control(set) }
}
