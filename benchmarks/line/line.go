// Package line is a long line between two hosts, on one machine: a network
// namespace is the far end, and this process carries the packets between it
// and here, as late and as fast as the line would. Both ends speak the
// kernel's own TCP, so that windows, slow start, Nagle's algorithm and delayed
// acknowledgements are what they are on a real line. Nothing is lost on it.
//
// It does what `tc netem` does where the kernel has no netem.
package line

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnavailable is returned where lines cannot be made: without root, TUN
// devices, network namespaces or the ip command.
var ErrUnavailable = errors.New("lines cannot be made here")

// Options describe a line.
type Options struct {
	RTT  time.Duration
	Rate int64 // bits per second in each direction, of what Ethernet carries
}

// Line is an open line.
type Line struct {
	namespace string
	near, far *os.File // TUN devices
	pumps     sync.WaitGroup
}

// The addresses of the ends: TEST-NET-2 of RFC 5737, which nobody has.
const (
	// Near is the address of this end, for servers to listen on.
	Near = "198.51.100.1"
	// Far is that of the other end.
	Far = "198.51.100.2"
)

// Open makes a line; there can be one at a time.
func Open(ctx context.Context, o Options) (*Line, error) {
	l := &Line{namespace: fmt.Sprintf("cigogne-bench-%d", os.Getpid())}
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, err
	}
	for _, way := range [][2]*os.File{{l.near, l.far}, {l.far, l.near}} {
		p := newPump(way[0], way[1], o)
		l.pumps.Go(p.read)
		l.pumps.Go(p.write)
	}
	return l, nil
}

func (l *Line) open(ctx context.Context) (err error) {
	const nearName, farName = "cigogne-near", "cigogne-far"
	if l.near, err = tun(nearName); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if l.far, err = tun(farName); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, args := range []string{
		"netns add " + l.namespace,
		"link set " + farName + " netns " + l.namespace,
		"addr add " + Near + "/30 dev " + nearName,
		"link set " + nearName + " up",
		"-n " + l.namespace + " addr add " + Far + "/30 dev " + farName,
		"-n " + l.namespace + " link set " + farName + " up",
	} {
		out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: ip %s: %w: %s", ErrUnavailable, args, err, out)
		}
	}
	return nil
}

// Close takes the line down and waits until nothing of it runs.
func (l *Line) Close() {
	for _, f := range []*os.File{l.near, l.far} {
		if f != nil {
			f.Close()
		}
	}
	l.pumps.Wait()
	exec.Command("ip", "netns", "del", l.namespace).Run() //nolint:errcheck,noctx // it may never have been added
}

// Command has a command that is not started yet run at the far end.
func (l *Line) Command(cmd *exec.Cmd) {
	cmd.Args = append([]string{"ip", "netns", "exec", l.namespace, cmd.Path}, cmd.Args[1:]...)
	path, err := exec.LookPath("ip")
	cmd.Path, cmd.Err = path, err
}

// DialContext opens a connection from the far end: a socket belongs to the
// namespace of the thread that made it.
func (l *Line) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	if err := enter("/run/netns/" + l.namespace); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	d := net.Dialer{Timeout: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	// A thread that cannot come home stays locked, and ends with its goroutine.
	if herr := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); herr != nil {
		return conn, errors.Join(err, herr)
	}
	runtime.UnlockOSThread()
	return conn, err
}

// enter moves the calling thread to a network namespace.
func enter(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
}

// tun makes a TUN device of this name. Its packets carry the header of virtio,
// so that the kernel may hand over TCP segments in bulk and unsummed.
func tun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	rq, err := unix.NewIfreq(name)
	if err == nil {
		rq.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, rq)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
