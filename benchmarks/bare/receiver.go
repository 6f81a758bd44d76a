// Package bare is the limit that C-STORE is measured against: a receiver that
// does only what a durable one cannot leave out. It acknowledges TCP at once,
// writes each data set into a file of its own, fsyncs that, and answers
// success. It checks nothing, indexes nothing and serves nothing.
package bare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
)

// Receiver receives into Dir.
type Receiver struct {
	Dir  string
	Sync bool // fsync each data set before it is answered
	next atomic.Int64
}

const (
	maxPDU     = 128 << 10
	maxRequest = 1 << 20
)

// Serve answers associations until ctx ends, and waits for them.
func (r *Receiver) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var associations sync.WaitGroup
	defer associations.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		associations.Go(func() {
			defer c.Close()
			if err := r.associate(c); err != nil && !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "bare receiver:", err)
			}
		})
	}
}

func (r *Receiver) associate(c net.Conn) error {
	head, body, err := readPDU(c, nil)
	if err != nil {
		return err
	}
	if head != pdu.TypeAssociateRQ {
		return fmt.Errorf("first PDU is of type %v", head)
	}
	rq, err := pdu.DecodeAssociateRQ(body)
	if err != nil {
		return err
	}
	ac := pdu.AssociateAC{
		ProtocolVersion: pdu.ProtocolVersion, CalledAETitle: rq.CalledAETitle, CallingAETitle: rq.CallingAETitle,
		ApplicationContextName: pdu.ApplicationContextName,
		User:                   pdu.UserInformation{MaxPDULength: maxPDU, ImplementationClassUID: "2.25.1"},
	}
	for _, p := range rq.Contexts {
		ac.Contexts = append(ac.Contexts, pdu.ContextAC{ID: p.ID, TransferSyntax: p.TransferSyntaxes[0]})
	}
	answer, err := ac.Append(nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(answer); err != nil {
		return err
	}
	return r.receive(c)
}

// receive takes messages until the association is released.
func (r *Receiver) receive(c net.Conn) error {
	var (
		command []byte
		file    *os.File
		buf     = make([]byte, maxPDU)
	)
	for {
		kind, body, err := readPDU(c, buf)
		switch {
		case err != nil:
			return err
		case kind == pdu.TypeReleaseRQ:
			_, err := c.Write(pdu.AppendReleaseRP(nil))
			return err
		case kind != pdu.TypeDataTF:
			return fmt.Errorf("unexpected PDU %v", kind)
		}
		for len(body) > 0 {
			length := int(binary.BigEndian.Uint32(body)) + 4
			context, control, part := body[4], body[5], body[6:length]
			body = body[length:]
			if control&1 != 0 { // a command set comes in one part from any SCU there is
				command = append(command[:0], part...)
				continue
			}
			if file == nil {
				if file, err = os.Create(filepath.Join(r.Dir, strconv.FormatInt(r.next.Add(1), 10))); err != nil {
					return err
				}
			}
			if _, err := file.Write(part); err != nil {
				return err
			}
			if control&2 == 0 {
				continue
			}
			if err := r.finish(file); err != nil {
				return err
			}
			file = nil
			if _, err := c.Write(success(context, command)); err != nil {
				return err
			}
		}
	}
}

func (r *Receiver) finish(f *os.File) error {
	if r.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return f.Close()
}

// readPDU reads one PDU, into buf when it fits.
func readPDU(c net.Conn, buf []byte) (pdu.Type, []byte, error) {
	var head [pdu.HeaderLength]byte
	if _, err := io.ReadFull(quick{c}, head[:]); err != nil {
		return 0, nil, err
	}
	h := pdu.ParseHeader(head)
	if h.Length > maxRequest {
		return 0, nil, fmt.Errorf("PDU of %d bytes", h.Length)
	}
	if int(h.Length) > len(buf) {
		buf = make([]byte, h.Length)
	}
	_, err := io.ReadFull(quick{c}, buf[:h.Length])
	return h.Type, buf[:h.Length], err
}

// quick acknowledges TCP at once: the kernel forgets TCP_QUICKACK, so it is
// set again with every read.
type quick struct{ net.Conn }

func (q quick) Read(p []byte) (int, error) {
	n, err := q.Conn.Read(p)
	if t, ok := q.Conn.(*net.TCPConn); ok {
		if raw, rerr := t.SyscallConn(); rerr == nil {
			raw.Control(func(fd uintptr) { //nolint:errcheck // slower without
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) //nolint:errcheck // slower without
			})
		}
	}
	return n, err
}

// success is the C-STORE-RSP to the command (PS3.7 §9.3.1.2).
func success(context byte, command []byte) []byte {
	var class, instance, id []byte
	for b := command; len(b) >= 8; {
		group, element := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		length := int(binary.LittleEndian.Uint32(b[4:]))
		value := b[8 : 8+length]
		b = b[8+length:]
		switch {
		case group != 0:
		case element == 0x0002:
			class = value
		case element == 0x0110:
			id = value
		case element == 0x1000:
			instance = value
		}
	}
	var set []byte
	add := func(element uint16, value []byte) {
		set = binary.LittleEndian.AppendUint16(set, 0)
		set = binary.LittleEndian.AppendUint16(set, element)
		set = binary.LittleEndian.AppendUint32(set, uint32(len(value)))
		set = append(set, value...)
	}
	add(0x0002, class)
	add(0x0100, []byte{0x01, 0x80})
	add(0x0120, id)
	add(0x0800, []byte{0x01, 0x01})
	add(0x0900, []byte{0, 0})
	add(0x1000, instance)
	length := binary.LittleEndian.AppendUint32([]byte{0, 0, 0, 0, 4, 0, 0, 0}, uint32(len(set)))
	b := pdu.AppendPDV(nil, pdu.PDV{ContextID: context, Command: true, Last: true, Length: len(length) + len(set)})
	return append(append(b, length...), set...)
}
