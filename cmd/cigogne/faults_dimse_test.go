package main

import (
	"bytes"
	"encoding/binary"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestHostilePDUs: what breaks the upper layer ends the association of who
// sent it, and nobody else's.
func TestHostilePDUs(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--artim", "500ms", "--idle", "1s", "--log-level", "error")
	header := func(typ pdu.Type, length uint32) []byte {
		return pdu.AppendHeader(nil, pdu.Header{Type: typ, Length: length})
	}
	pdv := func(pduLength, itemLength uint32, rest ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(header(pdu.TypeDataTF, pduLength), itemLength), rest...)
	}
	echo := (&dicomtest.Builder{Implicit: true}).Text(0x00000002, "UI", dimse.Verification).US(0x00000100, 0x30).
		US(0x00000110, 1).US(0x00000800, 0x0101).Bytes()
	for _, c := range []struct {
		name string
		open bool // inside an association
		send []byte
	}{
		{"A-ASSOCIATE-RQ of 4 GiB", false, header(pdu.TypeAssociateRQ, 0xFFFFFFFF)},
		{"A-ASSOCIATE-RQ of nothing", false, header(pdu.TypeAssociateRQ, 0)},
		{"A-ASSOCIATE-RQ whose items lie", false, lyingItems(associateRQ(t, "HOSTILE"))},
		{"HTTP", false, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"TLS", false, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 600))},
		{"P-DATA-TF before an association", false, fragment(1, true, true, echo)},
		{"P-DATA-TF of 4 GiB", true, header(pdu.TypeDataTF, 0xFFFFFFFF)},
		{"P-DATA-TF of nothing", true, header(pdu.TypeDataTF, 0)},
		{"PDV beyond its PDU", true, pdv(20, 200, bytes.Repeat([]byte{1}, 200)...)},
		{"PDV of 4 GiB", true, pdv(20, 0xFFFFFFFF, make([]byte, 16)...)},
		{"PDV of 0", true, pdv(6, 0, 1, 3)},
		{"PDV of 1", true, pdv(6, 1, 1, 3)},
		{"half a PDV header", true, header(pdu.TypeDataTF, 3)},
		{"context that was not accepted", true, fragment(99, true, true, echo)},
		{"data set without a command", true, fragment(3, false, true, []byte{1, 2})},
		{"command set of another group", true, fragment(1, true, true, []byte{8, 0, 0, 0, 0, 0, 0, 0})},
		{"command element of 4 GiB", true, fragment(1, true, true, []byte{0, 0, 2, 0, 255, 255, 255, 255, 1, 2})},
		{"command set that never ends", true, bytes.Repeat(fragment(1, true, false, make([]byte, 64)), 2000)},
		{"command set of nothing that never ends", true, bytes.Repeat(fragment(1, true, false, nil), 20_000)},
		{"second A-ASSOCIATE-RQ", true, associateRQ(t, "HOSTILE")},
		{"unknown PDU", true, header(0x42, 4)},
	} {
		t.Run(c.name, func(t *testing.T) {
			whileServing(t, node, func() {
				p := connect(t, node.dimse)
				if c.open {
					p = associated(t, node.dimse, "HOSTILE")
				}
				p.send(c.send)
				p.expectEnd()
			})
		})
	}
	t.Run("fragments that are legal", func(t *testing.T) { fragmentsAreStored(t, node) })
	t.Run("data set that is cut", func(t *testing.T) { cutIsNotListed(t, node) })
	node.stop()
}

// lyingItems makes the first item's length reach beyond the PDU.
func lyingItems(rq []byte) []byte {
	const firstItem = pdu.HeaderLength + 68
	binary.BigEndian.PutUint16(rq[firstItem+2:], 0xFFFF)
	return rq
}

// fragmentsAreStored sends instances in 64 byte fragments, and as many PDVs in
// one PDU: both are legal.
func fragmentsAreStored(t *testing.T, node *process) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 30, Modality: "CR", Instances: 2})
	for i, in := range study.Instances {
		b := bytes.Replace(in.DataSet(), []byte(dicomtest.CRImage), []byte(dicomtest.CTImage), 1) // of the context
		p := associated(t, node.dimse, "FRAGMENTS")
		p.send(fragments(true, 64, storeRQ(in.SOPInstanceUID)))
		small := fragments(false, 64, b)
		if i == 1 { // without the PDU headers between them
			small = onePDU(small)
		}
		p.send(small)
		if got := p.status(); got != dimse.StatusSuccess {
			t.Errorf("instance %d: status %s", i, got)
		}
		checkOne(t, node, keyOf(in), storage.DigestOf(b), "fragmented")
	}
	found, err := search(t.Context(), node.web, "studies/"+study.StudyInstanceUID+"/instances", nil)
	if err != nil || len(found) != 2 {
		t.Errorf("%d instances are listed, %v", len(found), err)
	}
}

// onePDU puts the PDVs of P-DATA-TFs into as few as the negotiated length
// allows.
func onePDU(tfs []byte) (all []byte) {
	const most = 64 << 10
	var pdvs []byte
	flush := func() {
		all = append(pdu.AppendHeader(all, pdu.Header{Type: pdu.TypeDataTF, Length: uint32(len(pdvs))}), pdvs...)
		pdvs = nil
	}
	for len(tfs) > 0 {
		n := int(binary.BigEndian.Uint32(tfs[2:]))
		if len(pdvs)+n > most {
			flush()
		}
		pdvs, tfs = append(pdvs, tfs[pdu.HeaderLength:pdu.HeaderLength+n]...), tfs[pdu.HeaderLength+n:]
	}
	flush()
	return all
}

// cutIsNotListed breaks off inside a data set, in all the ways there are.
func cutIsNotListed(t *testing.T, node *process) {
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 31, Instances: 1}).Instances[0]
	var half []byte
	for part := range slices.Chunk(in.DataSet()[:200<<10], 16<<10) {
		half = append(half, fragment(3, false, false, part)...)
	}
	for name, end := range map[string]func(*wirePeer){
		"close":         func(p *wirePeer) { p.conn.Close() },
		"reset":         func(p *wirePeer) { p.conn.SetLinger(0); p.conn.Close() },
		"A-ABORT":       func(p *wirePeer) { p.send(pdu.Abort{}.Append(nil)); p.expectEnd() },
		"A-RELEASE-RQ":  func(p *wirePeer) { p.send(pdu.AppendReleaseRQ(nil)); p.expectEnd() },
		"silence":       func(p *wirePeer) { p.send(fragment(3, false, true, make([]byte, 4<<10))[:100]); p.expectEnd() },
		"a new command": func(p *wirePeer) { p.send(fragment(3, true, true, storeRQ("2.25.9"))); p.expectEnd() },
	} {
		t.Run(name, func(t *testing.T) {
			whileServing(t, node, func() {
				p := associated(t, node.dimse, "CUTTER")
				p.t = t
				p.send(fragments(true, 1<<10, storeRQ(in.SOPInstanceUID)))
				p.send(half)
				end(p)
			})
			expectNothing(t, node, in.StudyInstanceUID)
		})
	}
}

// expectNothing makes sure that nothing of a study is listed.
func expectNothing(t *testing.T, node *process, study string) {
	t.Helper()
	for _, level := range []string{"studies", "series", "instances"} {
		found, err := search(t.Context(), node.web, level, url.Values{"StudyInstanceUID": {study}})
		if err != nil || len(found) > 0 {
			t.Errorf("%d %s are listed, %v", len(found), level, err)
		}
	}
}
