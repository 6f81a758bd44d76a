package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// holds tells whether the node's end of the connection with a client's address
// is established, as /proc/net/tcp has it.
func holds(node *process, client string) (bool, error) {
	ours, err := kernelAddress(strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		return false, err
	}
	theirs, err := kernelAddress(client)
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	const established = "01"
	return strings.Contains(string(table), ours+" "+theirs+" "+established), err
}

// kernelAddress is an IPv4 address as /proc/net/tcp writes it, on a
// little-endian machine.
func kernelAddress(addr string) (string, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return "", err
	}
	ip := a.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port), nil
}
