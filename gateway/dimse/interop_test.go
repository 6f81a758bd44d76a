package dimse_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// tool returns the path of a program of DCMTK, or skips the test.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s of DCMTK is not installed", name)
	}
	return path
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// part10 is a small file of a CT image: File Meta Information, and a Data Set in Explicit
// VR Little Endian with n bytes of pixels.
func part10(sopInstanceUID string, n int) (file, dataSet []byte) {
	short := func(b []byte, group, elem uint16, vr, value string, pad byte) []byte {
		if len(value)%2 == 1 {
			value += string(pad)
		}
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, group), elem)
		b = binary.LittleEndian.AppendUint16(append(b, vr...), uint16(len(value)))
		return append(b, value...)
	}
	long := func(b []byte, group, elem uint16, vr string, value []byte) []byte {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, group), elem)
		b = binary.LittleEndian.AppendUint32(append(append(b, vr...), 0, 0), uint32(len(value)))
		return append(b, value...)
	}
	meta := long(nil, 2, 1, "OB", []byte{0, 1})
	meta = short(meta, 2, 2, "UI", ctImageStorage, 0)
	meta = short(meta, 2, 3, "UI", sopInstanceUID, 0)
	meta = short(meta, 2, 0x10, "UI", dimse.ExplicitVRLittleEndian, 0)
	meta = short(meta, 2, 0x12, "UI", "1.2.3.4", 0)
	dataSet = short(nil, 8, 0x16, "UI", ctImageStorage, 0)
	dataSet = short(dataSet, 8, 0x18, "UI", sopInstanceUID, 0)
	dataSet = short(dataSet, 0x10, 0x10, "PN", "Cigogne^Test", ' ')
	dataSet = short(dataSet, 0x20, 0xD, "UI", "1.2.3", 0)
	dataSet = short(dataSet, 0x20, 0xE, "UI", "1.2.3.4", 0)
	dataSet = long(dataSet, 0x7FE0, 0x10, "OW", pattern(n))
	file = append(make([]byte, 128), "DICM"...)
	file = short(file, 2, 0, "UL", string(binary.LittleEndian.AppendUint32(nil, uint32(len(meta)))), 0)
	return append(append(file, meta...), dataSet...), dataSet
}

func TestDCMTKEchoSCU(t *testing.T) {
	echoscu := tool(t, "echoscu")
	m := newMemory()
	addr, _ := serve(t, m, nil)
	host, port, _ := net.SplitHostPort(addr)
	run(t, echoscu, "-aet", "ECHOSCU", "-aec", "CIGOGNE", "--repeat", "5", host, port)
	if n := m.counted("C-ECHO 0000"); n != 5 {
		t.Errorf("%d echoes were answered", n)
	}
	out, err := exec.CommandContext(t.Context(), echoscu, "-aec", "NOBODY", host, port).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Called AE Title Not Recognized") {
		t.Errorf("another AE title: %v\n%s", err, out)
	}
}

// TestDCMTKStoreSCU lets storescu and dcmsend send files of many lengths and
// compares the bytes.
func TestDCMTKStoreSCU(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{}
	for i, n := range []int{2, 1000, 130_000, 131_072, 526_338, 3_000_000} {
		uid := fmt.Sprintf("1.2.3.4.%d", i)
		var file []byte
		file, want[uid] = part10(uid, n)
		if err := os.WriteFile(filepath.Join(dir, uid+".dcm"), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"storescu": {"+sd", "+r", "-aec", "CIGOGNE"},
		"dcmsend":  {"+sd", "+r", "-aec", "CIGOGNE", "--decompress-never"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tool(t, name)
			for _, maxPDU := range []int{4096, 16384, 0} {
				m := newMemory()
				addr, _ := serve(t, m, func(c *dimse.Config) { c.MaxPDULength = maxPDU })
				host, port, _ := net.SplitHostPort(addr)
				run(t, path, append(args, host, port, dir)...)
				for uid, dataSet := range want {
					if got, ok := m.instance(uid); !ok || !bytes.Equal(got, dataSet) {
						t.Errorf("PDU length %d: %s did not arrive as it is (%d bytes of %d)", maxPDU, uid, len(got), len(dataSet))
					}
				}
			}
		})
	}
}

// storeSCP starts storescp, which keeps what comes in dir, until it is killed or
// the test ends.
func storeSCP(t *testing.T, args ...string) (addr, dir string, kill func()) {
	t.Helper()
	program := tool(t, "storescp")
	dir = t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	ln.Close()
	cmd := exec.CommandContext(context.Background(), program, append([]string{"-aet", "STORESCP", "--bit-preserving", "-od", dir}, append(args, port)...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	for began := time.Now(); ; {
		a, err := tryDial(addr, func(c *dimse.SCUConfig) { c.CalledAETitle = "STORESCP" })
		if err == nil {
			a.Abort()
			return addr, dir, kill
		}
		if time.Since(began) > 4*time.Minute {
			t.Fatal(err)
		}
	}
}

// TestSCUAgainstDCMTK sends to storescp, which has no asynchronous window and
// announces PDUs of 16 KiB.
func TestSCUAgainstDCMTK(t *testing.T) {
	addr, dir, _ := storeSCP(t)
	a := dial(t, addr, func(c *dimse.SCUConfig) { c.CalledAETitle, c.AsyncWindow = "STORESCP", 8 })
	if a.Window() != 1 {
		t.Errorf("the window is %d", a.Window())
	}
	if status, err := a.Echo(t.Context()); err != nil || status != 0 {
		t.Fatalf("Echo: %s, %v", status, err)
	}
	for i, n := range []int{2, 100_000, 1_000_000} {
		uid := fmt.Sprintf("1.2.3.5.%d", i)
		_, dataSet := part10(uid, n)
		if status, err := a.Store(t.Context(), ct(uid, dataSet)); err != nil || status != 0 {
			t.Fatalf("Store: %s, %v", status, err)
		}
		got, err := filepath.Glob(filepath.Join(dir, "*"+uid))
		if err != nil || len(got) != 1 {
			t.Fatalf("storescp has %v, %v", got, err)
		}
		if b, err := os.ReadFile(got[0]); err != nil || !bytes.HasSuffix(b, dataSet) {
			t.Errorf("%s is not what was sent: %v", uid, err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
}

// TestRealFiles sends the Data Sets of the collection's loose files as they
// are, in the transfer syntax they have, and compares every byte.
func TestRealFiles(t *testing.T) {
	dir := os.Getenv("CIGOGNE_DICOM_DIR")
	if dir == "" {
		dir = "../../../shared/dicom"
	}
	var files []string
	for _, folder := range []string{"modality", "transfer-syntax", "charset"} {
		found, err := filepath.Glob(filepath.Join(dir, folder, "*.dcm"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skipf("no DICOM files in %s: set CIGOGNE_DICOM_DIR", dir)
	}
	m := newMemory()
	addr, _ := serve(t, m, nil)
	sent := 0
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		meta, dataSet, ok := splitPart10(whole)
		if !ok {
			t.Logf("%s has no File Meta Information", filepath.Base(file))
			continue
		}
		a := dial(t, addr, func(c *dimse.SCUConfig) {
			c.Contexts = []dimse.ProposedContext{{AbstractSyntax: meta[2], TransferSyntaxes: []string{meta[0x10]}}}
		})
		status, err := a.Store(t.Context(), dimse.StoreRequest{
			SOPClassUID: meta[2], SOPInstanceUID: meta[3], TransferSyntaxUID: meta[0x10], DataSet: bytes.NewReader(dataSet),
		})
		if err != nil || status != 0 {
			t.Errorf("%s: %s, %v", filepath.Base(file), status, err)
		} else if got, _ := m.instance(meta[3]); !bytes.Equal(got, dataSet) {
			t.Errorf("%s: %d other bytes arrived", filepath.Base(file), len(got))
		}
		a.Abort()
		sent++
	}
	if sent < len(files)*9/10 {
		t.Errorf("only %d of %d files could be sent", sent, len(files))
	}
}

// splitPart10 returns the UIDs of the File Meta Information by element, and
// the Data Set.
func splitPart10(b []byte) (meta map[uint16]string, dataSet []byte, ok bool) {
	if len(b) < 144 || string(b[128:132]) != "DICM" {
		return nil, nil, false
	}
	meta = map[uint16]string{}
	for b = b[132:]; len(b) >= 12 && binary.LittleEndian.Uint16(b) == 2; {
		head, n := 8, int(binary.LittleEndian.Uint16(b[6:]))
		if vr := string(b[4:6]); vr == "OB" || vr == "UN" {
			head, n = 12, int(binary.LittleEndian.Uint32(b[8:]))
		}
		if head+n > len(b) {
			return nil, nil, false
		}
		meta[binary.LittleEndian.Uint16(b[2:])] = strings.TrimRight(string(b[head:head+n]), "\x00 ")
		b = b[head+n:]
	}
	return meta, b, meta[2] != "" && meta[3] != "" && meta[0x10] != ""
}
