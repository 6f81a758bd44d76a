package s3

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
)

func TestParseURL(t *testing.T) {
	for text, name := range map[string]string{
		"s3://bucket":                       "s3://bucket/",
		"s3://bucket/":                      "s3://bucket/",
		"s3://bucket/a/b/":                  "s3://bucket/a/b",
		"s3://b/p?region=r":                 "s3://b/p",
		"s3://b?read-part=64":               "s3://b/",
		"s3://b?confirm=read":               "s3://b/",
		"s3://b?timeout=3s":                 "s3://b/",
		"s3://b?path-style=1":               "s3://b/",
		"dir:///x":                          "",
		"s3:///x":                           "",
		"s3://k:secret@b/":                  "",
		"s3://b/..":                         "",
		"s3://b?secret=x":                   "",
		"s3://b?region=a&region=b":          "",
		"s3://b?read-part=7":                "",
		"s3://b?write-part=4":               "",
		"s3://b?timeout=-1s":                "",
		"s3://b?confirm=maybe":              "",
		"s3://b?attempts=0":                 "",
		"s3://b?endpoint=x":                 "",
		"s3://b?endpoint=http://k:secret@h": "",
		"s3://b?endpoint=http://h:1/":       "s3://b/?endpoint=http%3A%2F%2Fh%3A1",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		o, err := ParseURL(u)
		switch {
		case name == "" && !errors.Is(err, storage.ErrInvalid):
			t.Errorf("%s: %v, want storage.ErrInvalid", text, err)
		case name == "" && strings.Contains(err.Error(), "secret@"):
			t.Errorf("%s: the error tells a secret: %v", text, err)
		case name != "" && (err != nil || o.url() != name):
			t.Errorf("%s: %q, %v, want %q", text, o.url(), err, name)
		}
	}
}

// TestArithmetic holds parts and blocks against the protocol's bounds, for
// objects that no disk here would take.
func TestArithmetic(t *testing.T) {
	a := &Archive{o: Options{WritePart: 16 * mib, ReadPart: 8 * mib}}
	for _, size := range []int64{0, 1, 16 * mib, 16*mib + 1, 5 << 30, 5<<30 + 1, 160_000 * mib, 160_000*mib + 1, largest} {
		part, block := a.partLength(size), blockOf(size)
		if parts := (size + part - 1) / part; parts > mostParts || part < leastPart || part > 5<<30 {
			t.Errorf("%d bytes in %d parts of %d", size, parts, part)
		}
		if blocks := (size + block - 1) / block; blocks > mostBlocks || block&(block-1) != 0 {
			t.Errorf("%d bytes in %d blocks of %d", size, blocks, block)
		}
	}
}

// FuzzParseSums: whatever stands in a header, what is read from it fits the
// object and writes itself again.
func FuzzParseSums(f *testing.F) {
	f.Add(sums{block: smallBlock, crcs: []uint32{1, 2, 1 << 31}}.String(), int64(3*smallBlock))
	f.Add("", int64(0))
	f.Add("524288 !", int64(1))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		s := parseSums(header, size)
		if s.block == 0 {
			return
		}
		if !s.covers(size) {
			t.Fatalf("%q does not cover %d", header, size)
		}
		if again := parseSums(s.String(), size); len(s.crcs) > 0 && again.String() != s.String() {
			t.Fatalf("%q became %q", header, again)
		}
	})
}
