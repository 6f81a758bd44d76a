package pdu_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
)

// fixture reads an annotated file of testdata/wire: hexadecimal bytes, and
// comments after '#'.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../testdata/wire", name))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// body splits a fixture of one PDU and checks its header.
func body(t testing.TB, b []byte, want pdu.Type) []byte {
	t.Helper()
	h := pdu.ParseHeader([pdu.HeaderLength]byte(b))
	if h.Type != want || int(h.Length) != len(b)-pdu.HeaderLength {
		t.Fatalf("the header is %+v of %d bytes", h, len(b))
	}
	return b[pdu.HeaderLength:]
}

const ctImageStorage = "1.2.840.10008.5.1.4.1.1.2"

func TestDecodeAssociateRQ(t *testing.T) {
	got, err := pdu.DecodeAssociateRQ(body(t, fixture(t, "associate-rq.hex"), pdu.TypeAssociateRQ))
	if err != nil {
		t.Fatal(err)
	}
	want := &pdu.AssociateRQ{
		ProtocolVersion: 1, CalledAETitle: "CIGOGNE", CallingAETitle: "TESTER",
		ApplicationContextName: pdu.ApplicationContextName,
		Contexts: []pdu.ContextRQ{
			{ID: 1, AbstractSyntax: "1.2.840.10008.1.1", TransferSyntaxes: []string{"1.2.840.10008.1.2"}},
			{ID: 3, AbstractSyntax: ctImageStorage, TransferSyntaxes: []string{"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.201"}},
		},
		User: pdu.UserInformation{
			MaxPDULength: 131072, ImplementationClassUID: "1.2.3.4", ImplementationVersionName: "TEST_1",
			AsyncWindow: &pdu.AsyncWindow{MaxOperationsInvoked: 8, MaxOperationsPerformed: 1},
			Roles:       []pdu.Role{{SOPClassUID: ctImageStorage, SCU: true}},
			Extended:    []pdu.ExtendedNegotiation{{SOPClassUID: ctImageStorage, Information: []byte{2, 0, 0, 0, 1, 0}}},
			CommonExtended: []pdu.CommonExtendedNegotiation{{
				SOPClassUID: ctImageStorage, ServiceClassUID: "1.2.840.10008.4.2", RelatedGeneralSOPClassUIDs: []string{"1.2.3"},
			}},
			Identity: &pdu.UserIdentity{
				Type: pdu.IdentityPasscode, ResponseRequested: true, Primary: []byte("dr"), Secondary: []byte("secret"),
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestAssociateACRoundTrip(t *testing.T) {
	want := fixture(t, "associate-ac.hex")
	ac, err := pdu.DecodeAssociateAC(body(t, want, pdu.TypeAssociateAC))
	if err != nil {
		t.Fatal(err)
	}
	if ac.Contexts[1].Result != pdu.ContextAbstractSyntaxNotSupported || ac.User.IdentityResponse == nil || ac.User.MaxPDULength != 16384 {
		t.Errorf("decoded %+v", ac)
	}
	got, err := ac.Append(nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("encoded again:\n%x\n%x, %v", got, want, err)
	}
}

func TestControlPDUs(t *testing.T) {
	for name, got := range map[string][]byte{
		"associate-rj.hex": pdu.RejectLimit().Append(nil),
		"release-rq.hex":   pdu.AppendReleaseRQ(nil),
		"release-rp.hex":   pdu.AppendReleaseRP(nil),
		"abort.hex":        pdu.Abort{Source: pdu.AbortServiceProvider, Reason: pdu.ReasonInvalidParameter}.Append(nil),
	} {
		if want := fixture(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
	if rj, err := pdu.DecodeAssociateRJ([]byte{0, 2, 3, 2}); err != nil || rj != pdu.RejectLimit() || rj.String() != "local-limit-exceeded" {
		t.Errorf("A-ASSOCIATE-RJ: %v, %v", rj, err)
	}
	if a, err := pdu.DecodeAbort([]byte{0, 0, 2, 1}); err != nil || a.Source != pdu.AbortServiceProvider || a.Reason != pdu.ReasonUnrecognizedPDU {
		t.Errorf("A-ABORT: %v, %v", a, err)
	}
}

// TestDecodeCutShort cuts the request at every length: none may be taken for
// whole, save where a PDU could end, and none may panic.
func TestDecodeCutShort(t *testing.T) {
	whole := body(t, fixture(t, "associate-rq.hex"), pdu.TypeAssociateRQ)
	taken := 0
	for n := range whole {
		_, err := pdu.DecodeAssociateRQ(whole[:n])
		var broken *pdu.Error
		switch {
		case err == nil:
			taken++
		case !errors.As(err, &broken) || !errors.Is(err, storage.ErrInvalid) || broken.Reason != pdu.ReasonInvalidParameter:
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	// After the fixed part, the application context and each presentation
	// context.
	if taken != 4 {
		t.Errorf("%d of the cut requests were taken for whole", taken)
	}
}

func TestContextIDs(t *testing.T) {
	for _, ids := range [][]byte{{2}, {0}, {1, 3, 1}} {
		rq := &pdu.AssociateRQ{ProtocolVersion: 1}
		for _, id := range ids {
			rq.Contexts = append(rq.Contexts, pdu.ContextRQ{ID: id, AbstractSyntax: "1.2"})
		}
		b, err := rq.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pdu.DecodeAssociateRQ(b[pdu.HeaderLength:]); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("ids %v: %v", ids, err)
		}
	}
}

func TestAppendTooLong(t *testing.T) {
	rq := &pdu.AssociateRQ{User: pdu.UserInformation{Identity: &pdu.UserIdentity{Primary: make([]byte, 1<<16)}}}
	if _, err := rq.Append(nil); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("an identity of 64 KiB: %v", err)
	}
}

// readAll walks through PDUs as a consumer does, and returns the fragments.
func readAll(r *pdu.Reader, take func(*pdu.Reader) ([]byte, error)) (fragments [][]byte, err error) {
	for {
		h, err := r.Next()
		if err != nil {
			return fragments, err
		}
		if h.Type != pdu.TypeDataTF {
			continue // the next Next skips it
		}
		for {
			v, err := r.NextPDV()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fragments, err
			}
			b, err := take(r)
			if err != nil {
				return fragments, err
			}
			if len(b) != v.Length {
				return fragments, io.ErrShortBuffer
			}
			fragments = append(fragments, b)
		}
	}
}

func TestReaderStreams(t *testing.T) {
	var wire []byte
	var want [][]byte
	for i, n := range []int{0, 1, 2, 63, 64, 65, 1000, 70_000, 3} {
		fragment := bytes.Repeat([]byte{byte(i + 1)}, n)
		want = append(want, fragment)
		wire = pdu.AppendPDV(wire, pdu.PDV{ContextID: 1, Length: n})
		wire = append(wire, fragment...)
		wire = pdu.AppendReleaseRQ(wire) // something else in between
	}
	for name, take := range map[string]func(*pdu.Reader) ([]byte, error){
		"Read": func(r *pdu.Reader) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{r}) },
		"WriteTo": func(r *pdu.Reader) ([]byte, error) {
			var b bytes.Buffer
			_, err := r.WriteTo(&b)
			return b.Bytes(), err
		},
		"Read little": func(r *pdu.Reader) ([]byte, error) { return io.ReadAll(iotest.OneByteReader(r)) },
	} {
		for _, size := range []int{0, 100, 1 << 17} {
			for _, src := range []io.Reader{bytes.NewReader(wire), iotest.HalfReader(bytes.NewReader(wire)), iotest.DataErrReader(bytes.NewReader(wire))} {
				got, err := readAll(pdu.NewReader(src, size), take)
				if !errors.Is(err, io.EOF) || len(got) != len(want) {
					t.Fatalf("%s, buffer %d: %d fragments, %v", name, size, len(got), err)
				}
				for i := range want {
					if !bytes.Equal(got[i], want[i]) {
						t.Errorf("%s, buffer %d: fragment %d differs", name, size, i)
					}
				}
			}
		}
	}
}

// TestReaderNeverAllocatesByLength announces 4 GiB and sends little.
func TestReaderNeverAllocatesByLength(t *testing.T) {
	wire := append([]byte{1, 0, 0xFF, 0xFF, 0xFF, 0xFF}, make([]byte, 100)...)
	r := pdu.NewReader(bytes.NewReader(wire), 64)
	if h, err := r.Next(); err != nil || h.Length != 0xFFFFFFFF {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, err := r.Body(256 << 10); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("Body with a limit: %v", err)
	}
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := pdu.NewReader(bytes.NewReader(wire), 64)
			_, _ = r.Next()
			if _, err := r.Body(1 << 40); !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 4096 {
		t.Errorf("%d bytes were allocated for 106", allocated)
	}
}
