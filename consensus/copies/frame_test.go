package copies

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

func someFrames() []frame {
	return []frame{
		{kind: kindHello, hello: hello{journal: [16]byte{1, 2, 3}, session: 77, live: true}},
		{kind: kindBytes, segment: 3, offset: 64, bytes: []byte("some bytes")},
		{kind: kindBytes, segment: 3, offset: 64, bytes: make([]byte, 256<<10)},
		{kind: kindLarge, segment: 1 << 63, offset: 5 << 30},
		{kind: kindLargeBytes, bytes: []byte("x")},
		{kind: kindEnd, segment: 3, offset: 4096},
		{kind: kindPing}, {kind: kindPong, offset: 12345},
		{kind: kindExtents, more: true, extents: []journal.Extent{{Segment: 1, End: 64, Whole: true}, {Segment: 2, End: 128}}},
		{kind: kindExtents},
		{kind: kindAck, segment: 3, offset: 4096, more: true},
		{kind: kindRefused, reason: refusedRetired},
	}
}

// laterFrames came to version 1 afterwards: an older holder ignores the request
// in the first, and so nobody is sent the second who would not understand it.
func laterFrames() []frame {
	return []frame{{kind: kindLarge, segment: 1 << 63, offset: 5 << 30, more: true}, {kind: kindKept, segment: 1 << 63, offset: 5 << 30}}
}

func TestFrames(t *testing.T) {
	all := append(someFrames(), laterFrames()...)
	var wire []byte
	for _, f := range all {
		wire = f.append(wire)
	}
	r := newFrameReader(bytes.NewReader(wire))
	for _, want := range all {
		got, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v came back as %+v", want, got)
		}
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
	for at := range len(wire) - 1 { // every flipped bit is noticed, and every cut
		if at > 300 && at < len(wire)-300 {
			continue
		}
		bad := bytes.Clone(wire)
		bad[at] ^= 4
		if err := readAll(bad); err == nil {
			t.Errorf("a flipped bit in byte %d is taken", at)
		}
	}
}

func readAll(wire []byte) error {
	r := newFrameReader(bytes.NewReader(wire))
	for {
		if _, err := r.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// FuzzFrame reads any bytes as frames: it ends, and what is taken says the
// same when it is encoded again.
func FuzzFrame(f *testing.F) {
	for _, one := range append(someFrames(), laterFrames()...) {
		if len(one.bytes) < 1000 {
			f.Add(one.append(nil))
		}
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f, 2})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := newFrameReader(bytes.NewReader(wire))
		for {
			one, err := r.next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrUnsupported) {
					t.Fatal(err)
				}
				return
			}
			again, err := newFrameReader(bytes.NewReader(one.append(nil))).next()
			if err != nil || !reflect.DeepEqual(one, again) {
				t.Fatalf("%+v is encoded as %+v, %v", one, again, err)
			}
		}
	})
}

var update = flag.Bool("update", false, "write the files in testdata anew: only with a new version of the protocol")

// TestFixture reads the frames of version 1 as they were first written: nodes
// of all versions speak to each other while a cluster is upgraded.
func TestFixture(t *testing.T) {
	for name, frames := range map[string][]frame{"testdata/frames-v1.bin": someFrames(), "testdata/frames-v1-kept.bin": laterFrames()} {
		var wire []byte
		for _, f := range frames {
			if len(f.bytes) < 1000 {
				wire = f.append(wire)
			}
		}
		if *update {
			if err := os.WriteFile(name, wire, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, wire) {
			t.Errorf("%s: frames are written in another way than version 1 does", name)
		}
		if err := readAll(kept); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
