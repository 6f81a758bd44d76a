package storage_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/esante-alsace/cigogne/storage"
)

// vectors are those of BLAKE3's authors (BLAKE3-team/BLAKE3,
// test_vectors/test_vectors.json, the first 32 bytes of "hash"), and what b3sum
// 1.2.0 says of 65,536 bytes: lengths around a block, a chunk, and what the
// library takes at a time.
func vectors() map[int]string {
	return map[int]string{
		0:      "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:      "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		63:     "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b",
		64:     "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98",
		65:     "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee",
		1023:   "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
		1024:   "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
		1025:   "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
		8192:   "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63",
		8193:   "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b",
		31744:  "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
		65536:  "68d647e619a930e7b1082f74f334b0c65a315725569bdc123f0ee11881717bfe",
		102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
	}
}

// vector is the input of a vector.
func vector(length int) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func TestDigestOf(t *testing.T) {
	for length, want := range vectors() {
		if got := storage.DigestOf(vector(length)).String(); got != want {
			t.Errorf("%d bytes: %s, want %s", length, got, want)
		}
	}
}

// TestDigester: however a Data Set is cut, and whatever came before it, the
// Digest is the same; asking for it changes nothing.
func TestDigester(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := storage.NewDigester()
	for length, want := range vectors() {
		data := vector(length)
		for name, most := range map[string]int{"whole": length, "16 KiB": 16 << 10, "64 KiB": 64 << 10, "some bytes": 100, "any": 10_000} {
			d.Reset()
			for rest := data; len(rest) > 0; {
				n := min(len(rest), most)
				if name == "any" {
					n = rng.IntN(n + 1)
				}
				if m, err := d.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("%d bytes of %d written: %v", m, n, err)
				}
				rest = rest[n:]
				if name == "any" && rng.IntN(4) == 0 {
					d.Digest()
				}
			}
			if got := d.Digest().String(); got != want {
				t.Errorf("%d bytes, %s: %s, want %s", length, name, got, want)
			}
		}
	}
	d.Reset()
	if _, err := io.Copy(d, iotest.OneByteReader(bytes.NewReader(vector(1025)))); err != nil || d.Digest() != storage.DigestOf(vector(1025)) {
		t.Errorf("byte by byte: %s (%v)", d.Digest(), err)
	}
}

func TestDigestText(t *testing.T) {
	want := storage.DigestOf([]byte("a"))
	text, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got storage.Digest
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
	for _, wrong := range []string{"", string(text[1:]), string(text) + "0", "x" + string(text[1:])} {
		if err := got.UnmarshalText([]byte(wrong)); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%q: %v, want storage.ErrInvalid", wrong, err)
		}
	}
}
