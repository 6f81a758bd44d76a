//go:build !linux

package dimse

import "net"

// quickAcknowledge does nothing where the kernel has no such option.
func quickAcknowledge(net.Conn) func() { return func() {} }
