package sound_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// sum is what all of b but its first and last byte adds up to.
func sum(b []byte) sound.Sum {
	r := storage.Range{Offset: 1, Length: int64(len(b)) - 2}
	return sound.Sum{Range: r, Table: crc32.IEEETable, CRC: crc32.ChecksumIEEE(b[1 : len(b)-1])}
}

func TestOpen(t *testing.T) {
	content := bytes.Repeat([]byte("pixels"), 100_000)
	rotten := bytes.Clone(content)
	rotten[len(rotten)/2] ^= 1
	all := sum(content)
	part := storage.Range{Offset: 10, Length: 20} // which is sound itself
	for name, c := range map[string]struct {
		file []byte
		part storage.Range
		want error
	}{
		"sound":         {content, all.Range, nil},
		"part":          {content, part, nil},
		"rotten":        {rotten, all.Range, storage.ErrCorrupt},
		"part, rotten":  {rotten, part, storage.ErrCorrupt},
		"short":         {content[:len(content)-10], all.Range, storage.ErrCorrupt},
		"nothing of it": {rotten, storage.Range{Offset: 10}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var compare sound.Comparer
			for range 2 {
				gate, err := compare.Open(t.Context(), sound.File{ReaderAt: bytes.NewReader(c.file), Name: "a"}, c.part, all)
				if gate != nil || !errors.Is(err, c.want) {
					t.Fatalf("gate %v, %v", gate, err)
				}
			}
		})
	}
}

// TestRemembered: what was compared a moment ago is believed, in whole and in
// part, for a minute and as long as nobody has written to the file.
func TestRemembered(t *testing.T) {
	content := bytes.Repeat([]byte("pixels"), 100)
	all := sum(content)
	part := storage.Range{Offset: 10, Length: 20}
	synctest.Test(t, func(t *testing.T) {
		var compare sound.Comparer
		try := func(part storage.Range, modified int64) error {
			file := sound.File{ReaderAt: bytes.NewReader(content), Name: "a", Modified: time.Unix(modified, 0)}
			_, err := compare.Open(t.Context(), file, part, all)
			return err
		}
		if err := try(all.Range, 1); err != nil {
			t.Fatal(err)
		}
		content[100] ^= 1
		for _, r := range []storage.Range{all.Range, part} {
			if err := try(r, 1); err != nil {
				t.Errorf("compared again: %v", err)
			}
			if err := try(r, 2); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("somebody has written: %v", err)
			}
		}
		time.Sleep(time.Minute) // on the bubble's clock
		if err := try(all.Range, 1); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("after a minute: %v", err)
		}
	})
}

// TestGate: of a long range that rotted anywhere, all but its last bytes may
// go out.
func TestGate(t *testing.T) {
	content := make([]byte, sound.AtOnce+100)
	all := sum(content)
	for name, rot := range map[string]int{"sound": -1, "at its beginning": 5, "at its end": len(content) - 2} {
		t.Run(name, func(t *testing.T) {
			file := content
			if rot >= 0 {
				file = bytes.Clone(content)
				file[rot] ^= 1
			}
			var compare sound.Comparer
			gate, err := compare.Open(t.Context(), sound.File{ReaderAt: bytes.NewReader(file)}, all.Range, all)
			if gate == nil || err != nil {
				t.Fatalf("gate %v, %v", gate, err)
			}
			var out, n int64
			for n, err = gate.Next(); n > 0 && err == nil; n, err = gate.Next() {
				out += n
				gate.Gave(n)
			}
			if rot < 0 && (err != nil || out != all.Length || !gate.Proven()) {
				t.Errorf("%d bytes, %v", out, err)
			}
			if rot >= 0 && (!errors.Is(err, storage.ErrCorrupt) || out >= all.Length || gate.Proven()) {
				t.Errorf("%d bytes, %v", out, err)
			}
		})
	}
}

// zeros reads as zeros, however far.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// TestTooLongToRemember: what no page cache need hold is compared each time.
func TestTooLongToRemember(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 8 GiB of zeros")
	}
	var compare sound.Comparer
	for size, again := range map[int64]bool{4 << 30: false, 4<<30 + 1: true} {
		sum := sound.Sum{Range: storage.Range{Length: size}, Table: crc32.IEEETable, CRC: crcOfZeros(size)}
		open := func() *sound.Gate {
			gate, err := compare.Open(t.Context(), sound.File{ReaderAt: zeros{}, Name: "a"}, sum.Range, sum)
			if err != nil {
				t.Fatal(err)
			}
			return gate
		}
		left := size
		if _, err := open().Give(&left, func(n int64) (int64, error) { return n, nil }, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if open() != nil != again {
			t.Errorf("of %d bytes: compared again %v, want %v", size, !again, again)
		}
	}
}

func crcOfZeros(size int64) uint32 {
	block := make([]byte, 128<<10)
	var crc uint32
	for ; size > 0; size -= int64(len(block)) {
		crc = crc32.Update(crc, crc32.IEEETable, block[:min(size, int64(len(block)))])
	}
	return crc
}

// TestRememberedWhole: a long range is believed for a minute once its last byte
// was compared, and not before.
func TestRememberedWhole(t *testing.T) {
	content := make([]byte, sound.AtOnce+100)
	all := sum(content)
	synctest.Test(t, func(t *testing.T) {
		var compare sound.Comparer
		open := func() *sound.Gate {
			file := sound.File{ReaderAt: bytes.NewReader(content), Name: "a", Modified: time.Unix(1, 0)}
			gate, err := compare.Open(t.Context(), file, all.Range, all)
			if err != nil {
				t.Fatal(err)
			}
			return gate
		}
		give := func(gate *sound.Gate, n int64) error {
			take := func(n int64) (int64, error) { return n, nil }
			_, err := gate.Give(&n, take, func() error { return nil })
			return err
		}
		if err := give(open(), sound.AtOnce/2); err != nil {
			t.Fatal(err)
		}
		if open() == nil {
			t.Error("believed before its end")
		}
		if err := give(open(), all.Length); err != nil {
			t.Fatal(err)
		}
		if open() != nil {
			t.Error("compared again a moment later")
		}
		time.Sleep(time.Minute) // on the bubble's clock
		if open() == nil {
			t.Error("believed after a minute")
		}
	})
}
