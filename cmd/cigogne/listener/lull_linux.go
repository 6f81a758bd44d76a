package listener

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// awaitInKernel returns when there is something to be read, or after most.
func awaitInKernel(c *net.TCPConn, most time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // the Read that follows says why
	}
	_ = raw.Control(func(fd uintptr) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(most.Milliseconds())) // as after most
	})
}
