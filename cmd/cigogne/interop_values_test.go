package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// likeOHIF is how the OHIF viewer asks for frames: without the quotes that the
// grammar wants.
const likeOHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"

// TestRealFrames retrieves the first frame of every real file and compares it
// with PixelData, found and cut here by other means. Frames of Data Sets that
// are deflated are 501, as gateway/dicomweb/DESIGN.md says; what has no pixels
// is 404. Those of big endian ones are as stored, and the part says so.
func TestRealFrames(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	for _, node := range stowFiles(t, realFiles(t)) {
		for _, f := range node.files {
			want, status, kind := firstFrame(t, f, metadataOf(t, node.process, f))
			counts[kind]++
			answer := ask(t, instanceURL(node.web, f.key)+"/frames/1", likeOHIF)
			if answer.status != status {
				t.Errorf("%s: %d, want %d: %.200s", f.name, answer.status, status, answer.body)
				continue
			}
			if status != http.StatusOK {
				continue
			}
			if got := onlyPart(t, answer); !bytes.Equal(got, want) {
				t.Errorf("%s, %s: a frame of %d bytes, want %d, or other ones", f.name, kind, len(got), len(want))
			}
		}
	}
	t.Log(counts)
}

// onlyPart is the content of the one part of a multipart answer.
func onlyPart(t *testing.T, answer answered) []byte {
	t.Helper()
	kind, params, err := mime.ParseMediaType(answer.header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" {
		t.Fatalf("Content-Type %q, %v", answer.header.Get("Content-Type"), err)
	}
	r := multipart.NewReader(bytes.NewReader(answer.body), params["boundary"])
	part, err := r.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(part)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.NextPart(); err != io.EOF {
		t.Errorf("more than one part: %v", err)
	}
	return content
}

func metadataOf(t *testing.T, node *process, f *realFile) dicom.DataSet {
	t.Helper()
	answer := ask(t, instanceURL(node.web, f.key)+"/metadata", "application/dicom+json")
	var all []dicom.DataSet
	if err := json.Unmarshal(answer.body, &all); err != nil || len(all) != 1 {
		t.Fatalf("%s: %d, %v\n%.300s", f.name, answer.status, err, answer.body)
	}
	return all[0]
}

// firstFrame is what /frames/1 must answer.
func firstFrame(t *testing.T, f *realFile, about dicom.DataSet) (frame []byte, status int, kind string) {
	t.Helper()
	number := func(tag dicom.Tag) int {
		n := 1
		fmt.Sscan(about.String(tag), &n) // absent is 1
		return n
	}
	rows, columns := about.String(0x00280010), about.String(0x00280011)
	if f.syntax == dicom.DeflatedExplicitVRLittleEndian {
		return nil, http.StatusNotImplemented, "deflated"
	}
	value, fragments := pixelData(f)
	switch {
	case rows == "" || columns == "" || value == nil && fragments == nil:
		return nil, http.StatusNotFound, "no pixels"
	case fragments != nil:
		return encapsulated(t, f, fragments, number(0x00280008)), http.StatusOK, "encapsulated"
	}
	samples := number(0x00280002)
	if strings.HasSuffix(about.String(0x00280004), "_422") {
		samples = 2
	}
	bits := number(0x00280010) * number(0x00280011) * samples * number(0x00280100)
	if bits%8 != 0 {
		t.Fatalf("%s: a frame of %d bits; this test cuts bytes only", f.name, bits)
	}
	return value[:bits/8], http.StatusOK, "native"
}

// pixelData finds the top-level PixelData: the last element of that tag whose
// value fits. Fragments begin with the Basic Offset Table.
func pixelData(f *realFile) (value []byte, fragments [][]byte) {
	data, order := f.dataSet, binary.ByteOrder(binary.LittleEndian)
	if f.syntax == dicom.ExplicitVRBigEndian {
		order = binary.BigEndian
	}
	for _, element := range []uint16{0x0010, 0x0008} { // PixelData, FloatPixelData
		tag := make([]byte, 4)
		order.PutUint16(tag, 0x7FE0)
		order.PutUint16(tag[2:], element)
		for end := len(data); ; {
			at := bytes.LastIndex(data[:end], tag)
			if at < 0 || at+12 > len(data) {
				break
			}
			end = at
			header := 8
			if vr := string(data[at+4 : at+6]); vr == "OB" || vr == "OW" || vr == "OF" {
				header = 12
			}
			length := order.Uint32(data[at+header-4:])
			rest := data[at+header:]
			switch {
			case length == 0xFFFFFFFF:
				return nil, items(rest)
			case uint64(length) == uint64(len(rest)), uint64(length) < uint64(len(rest)) && order.Uint16(rest[length:]) > 0x7FE0:
				return rest[:length], nil
			}
		}
	}
	return nil, nil
}

func items(b []byte) (fragments [][]byte) {
	for len(b) >= 8 && string(b[:4]) == "\xFE\xFF\x00\xE0" {
		length := int(binary.LittleEndian.Uint32(b[4:]))
		fragments = append(fragments, b[8:8+length])
		b = b[8+length:]
	}
	return fragments
}

func encapsulated(t *testing.T, f *realFile, fragments [][]byte, frames int) []byte {
	t.Helper()
	offsets, fragments := fragments[0], fragments[1:]
	switch {
	case frames == 1:
		return bytes.Join(fragments, nil)
	case frames == len(fragments):
		return fragments[0]
	case len(offsets) >= 8:
		second, at := int(binary.LittleEndian.Uint32(offsets[4:])), 0
		for i, fragment := range fragments {
			if at == second {
				return bytes.Join(fragments[:i], nil)
			}
			at += 8 + len(fragment)
		}
	}
	t.Fatalf("%s: %d fragments for %d frames", f.name, len(fragments), frames)
	return nil
}

// TestRealBulkData follows every BulkDataURI in the metadata of every real
// file, and compares what it gives with what dcm2json has at the same place.
func TestRealBulkData(t *testing.T) {
	t.Parallel()
	tool(t, "dcm2json")
	b := bulkCheck{T: t, counts: map[string]int{}}
	for _, node := range stowFiles(t, realFiles(t)) {
		for _, f := range node.files {
			metadata := ask(t, instanceURL(node.web, f.key)+"/metadata", "application/dicom+json")
			var ours []any
			if err := json.Unmarshal(metadata.body, &ours); err != nil {
				t.Fatal(err)
			}
			var peer any
			if text, code, err := output(t.Context(), "dcm2json", "-q", f.path); err == nil && code == 0 {
				if err := json.Unmarshal([]byte(text), &peer); err != nil {
					peer = nil // it does not know every character set
				}
			}
			b.f = f
			b.compare(f.name, ours[0], peer)
		}
	}
	t.Log(b.counts)
	if b.counts["same bytes"] < 10 {
		t.Error("hardly any value was compared: the test shows little")
	}
}

type bulkCheck struct {
	*testing.T
	f      *realFile
	counts map[string]int
}

// compare walks both JSON documents at once.
func (b bulkCheck) compare(path string, ours, peer any) {
	switch o := ours.(type) {
	case []any:
		p, _ := peer.([]any)
		for i := range o {
			var at any
			if i < len(p) {
				at = p[i]
			}
			b.compare(path, o[i], at)
		}
	case map[string]any:
		p, _ := peer.(map[string]any)
		if url, ok := o["BulkDataURI"].(string); ok {
			b.follow(path, url, p)
			return
		}
		for name := range o {
			b.compare(path+"/"+name, o[name], p[name])
		}
	}
}

// valueSize is the length of one value of the numeric VRs.
func valueSize(vr any) int {
	switch vr {
	case "US", "SS":
		return 2
	case "UL", "SL", "FL", "AT":
		return 4
	case "FD", "SV", "UV":
		return 8
	}
	return 0
}

func (b bulkCheck) follow(path, url string, peer map[string]any) {
	answer := ask(b.T, url, "*/*")
	body := answer.body
	if b.f.syntax == dicom.DeflatedExplicitVRLittleEndian {
		if answer.status != http.StatusNotImplemented {
			b.Errorf("%s: %d for a value of a deflated Data Set", path, answer.status)
		}
		b.counts["deflated: 501"]++
		return
	}
	if answer.status != http.StatusOK || answer.header.Get("Content-Length") != strconv.Itoa(len(body)) || len(body) == 0 {
		b.Errorf("%s: %d, Content-Length %s, %d bytes", path, answer.status, answer.header.Get("Content-Length"), len(body))
	}
	inline, ok := peer["InlineBinary"].(string)
	values, many := peer["Value"].([]any)
	switch {
	case ok && b.f.syntax == dicom.ExplicitVRBigEndian:
		if n := base64.StdEncoding.DecodedLen(len(strings.TrimRight(inline, "="))); n-len(body) > 2 || len(body)-n > 2 {
			b.Errorf("%s: %d bytes, dcm2json %d", path, len(body), n)
		}
		b.counts["same length, big endian"]++
	case ok:
		want, err := base64.StdEncoding.DecodeString(inline)
		if err != nil || !bytes.Equal(bytes.TrimRight(body, "\x00"), bytes.TrimRight(want, "\x00")) {
			b.Errorf("%s: %d bytes are not the %d of dcm2json, %v", path, len(body), len(want), err)
		}
		b.counts["same bytes"]++
	case many && valueSize(peer["vr"]) > 0:
		if len(body) != len(values)*valueSize(peer["vr"]) {
			b.Errorf("%s: %d bytes, dcm2json has %d values", path, len(body), len(values))
		}
		b.counts["same number of values"]++
	case !bytes.Contains(b.f.dataSet, body):
		b.Errorf("%s: %d bytes that are not in the file", path, len(body))
	default:
		b.counts["in the file, not in dcm2json"]++
	}
}
