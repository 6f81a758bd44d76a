package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// TestRealFiles sends every real file on three ways and retrieves it again:
// with DCMTK's storescu (dcmsend where storescu does not), by STOW-RS, and
// with our own SCU. testdata/interop.tsv says what becomes of each, and it
// has a reason wherever a file does not come back as it is.
//
// DCMTK writes some Data Sets anew before it sends them. What it really sent is
// told by its own storescp, which keeps the bytes of the same call: that is
// what must come back.
func TestRealFiles(t *testing.T) {
	t.Parallel()
	storescu, storescp := tool(t, "storescu"), tool(t, "storescp")
	tool(t, "dcmsend")
	tool(t, "dcmdump")
	files := realFiles(t)
	outcomes := map[string]*[3]string{}
	for _, f := range files {
		outcomes[f.name] = &[3]string{}
	}
	peers := startPeers(t, storescp, files, 3)
	for _, wave := range waves(files) {
		viaDCMTK, viaSTOW, viaSCU := serveQuiet(t), serveQuiet(t), serveQuiet(t)
		var g errgroup.Group
		g.SetLimit(len(peers))
		for _, f := range wave {
			g.Go(func() (err error) {
				peer := <-peers
				defer func() { peers <- peer }()
				o := outcomes[f.name]
				if o[0], err = byDCMTK(t.Context(), viaDCMTK, peer, f); err != nil {
					return fmt.Errorf("%s by DCMTK: %w", f.name, err)
				}
				if o[1], err = bySTOW(t.Context(), viaSTOW, f); err != nil {
					return fmt.Errorf("%s by STOW-RS: %w", f.name, err)
				}
				if o[2], err = bySCU(t.Context(), viaSCU, f); err != nil {
					return fmt.Errorf("%s by our SCU: %w", f.name, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		for _, node := range []*process{viaDCMTK, viaSTOW, viaSCU} {
			node.kill()
		}
	}
	lines := []string{"# file\tDCMTK 3.6.7\tSTOW-RS\town SCU"}
	for _, f := range files {
		o := outcomes[f.name]
		lines = append(lines, strings.Join([]string{f.name, o[0], o[1], o[2]}, "\t"))
	}
	if version, _, _ := output(t.Context(), storescu, "--version"); !strings.Contains(version, "v3.6.7") {
		t.Skipf("the golden file is of another DCMTK: %.60s", version)
	}
	golden(t, "interop.tsv", lines)
}

func serveQuiet(t *testing.T, flags ...string) *process {
	t.Helper()
	return serve(t, t.TempDir(), append([]string{"--log-level", "error"}, flags...)...)
}

const identical = "identical"

// bySTOW pushes the file as it is. The very bytes must come back.
func bySTOW(ctx context.Context, node *process, f *realFile) (string, error) {
	status, stored, err := stow(ctx, node.web, f.whole)
	switch {
	case err != nil:
		return "", err
	case !f.hasMeta && status == http.StatusConflict:
		return "refused, 409: no File Meta Information that names a transfer syntax", nil
	case f.flaw != nil && status == http.StatusConflict:
		return "refused, 409: " + oneLine(f.flaw), nil
	case status != http.StatusOK || len(stored) != 1:
		return "", fmt.Errorf("status %d", status)
	}
	got, err := retrieve(ctx, node.web, f.key)
	if err != nil {
		return "", err
	}
	if bytes.Equal(got, f.whole) {
		return identical, nil
	}
	meta, dataSet := splitFile(got)
	if !bytes.Equal(dataSet, f.dataSet) || meta[0x10] != f.syntax || string(f.whole[128:132]) == "DICM" {
		return "", errors.New("it comes back as another")
	}
	return "identical Data Set; a preamble was put before it", nil
}

// bySCU sends the Data Set with our own SCU, in the file's transfer syntax.
func bySCU(ctx context.Context, node *process, f *realFile) (string, error) {
	if f.class == "" || f.sop == "" || f.syntax == "" {
		return "not sent: no SOP class, instance or transfer syntax", nil
	}
	a, err := dimse.Dial(ctx, node.dimse, dimse.SCUConfig{CalledAETitle: "CIGOGNE", Contexts: []dimse.ProposedContext{
		{AbstractSyntax: f.class, TransferSyntaxes: []string{f.syntax}},
	}})
	if err != nil {
		return "", err
	}
	defer a.Abort()
	if !a.Accepts(f.class, f.syntax) {
		return "not sent: presentation context rejected: " + f.class + " is not a Storage SOP class", nil
	}
	status, err := a.Store(ctx, dimse.StoreRequest{
		SOPClassUID: f.class, SOPInstanceUID: f.sop, TransferSyntaxUID: f.syntax, DataSet: bytes.NewReader(f.dataSet),
	})
	switch {
	case err != nil && f.flaw != nil:
		return "not sent: " + oneLine(err), nil
	case err != nil:
		return "", err
	case status.Failed() && f.flaw != nil:
		return fmt.Sprintf("refused, %04X: %s", uint16(status), oneLine(f.flaw)), nil
	case status != dimse.StatusSuccess:
		return "", fmt.Errorf("status %v", status)
	}
	if err := a.Release(ctx); err != nil {
		return "", err
	}
	return comesBack(ctx, node, f, f.dataSet)
}

// comesBack retrieves the file's instance and compares its Data Set.
func comesBack(ctx context.Context, node *process, f *realFile, want []byte) (string, error) {
	got, err := retrieve(ctx, node.web, f.key)
	if err != nil {
		return "", err
	}
	meta, dataSet := splitFile(got)
	if !bytes.Equal(dataSet, want) {
		return "", fmt.Errorf("another Data Set comes back, of %d bytes and not %d", len(dataSet), len(want))
	}
	if meta[0x10] != f.syntax || meta[0x02] != f.class || meta[0x03] != f.key.SOPInstanceUID {
		return "", fmt.Errorf("File Meta Information says %v", meta)
	}
	return identical, nil
}

// byDCMTK sends the file with storescu, and with dcmsend where storescu does
// not send it, to the node and to the peer.
func byDCMTK(ctx context.Context, node *process, peer *storescp, f *realFile) (string, error) {
	profile, err := peer.profile(f)
	if err != nil {
		return "", err
	}
	host, port := node.hostPort()
	storescu := []string{"storescu", "-v", "-aec", "CIGOGNE", "-xf", profile, "own"}
	text, code, err := output(ctx, storescu[0], append(storescu[1:], host, port, f.path)...)
	if err != nil {
		return "", err
	}
	status, sent := dcmtkStatus(text)
	way, by := storescu, ""
	if !sent {
		way, by = []string{"dcmsend", "-v", "-aec", "CIGOGNE", "--no-uid-checks", "--decompress-never", "+f"}, "by dcmsend: "
		refusal := complaint(text, f.path)
		if text, code, err = output(ctx, way[0], append(way[1:], host, port, f.path)...); err != nil {
			return "", err
		}
		if status, sent = dcmtkStatus(text); !sent {
			return "not sent: " + refusal, nil
		}
	}
	if status != "Success" {
		if strings.Contains(text, "UID in dataset differs from the one in the transfer list") {
			return by + "refused, " + status + ": dcmsend announces other UIDs than the file's, misread from UN", nil
		}
		if f.flaw == nil {
			return "", fmt.Errorf("exit code %d: %s", code, text)
		}
		return by + "refused, " + status + ": " + oneLine(f.flaw), nil
	}
	got, err := comesBack(ctx, node, f, f.dataSet)
	if err == nil {
		return by + got, nil
	}
	at, err := peer.receive(ctx, way, f)
	if err != nil {
		return "", err
	}
	defer os.Remove(at)
	received, err := os.ReadFile(at)
	if err != nil {
		return "", err
	}
	_, dataSet := splitFile(received)
	if _, err := comesBack(ctx, node, f, dataSet); err != nil {
		return "", err
	}
	changed, err := differences(ctx, f, at, dataSet)
	return by + "as DCMTK sent it: " + changed, err
}

// dcmtkStatus is what DCMTK says of the response; sent is false when there
// was none.
func dcmtkStatus(text string) (status string, sent bool) {
	for line := range strings.Lines(text) {
		for _, before := range []string{"I: Received Store Response (", "I: Received C-STORE Response ("} {
			if s, ok := strings.CutPrefix(line, before); ok {
				return strings.TrimRight(s, ")\n"), true
			}
		}
	}
	return "", false
}

// complaint is the first error that DCMTK tells, without the path.
func complaint(text, path string) string {
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "E: "); ok {
			if s = strings.TrimSpace(strings.NewReplacer(path, "", "Store Failed, file: ", "").Replace(s)); s != ":" {
				return strings.TrimRight(s, ": ")
			}
		} else if s, ok := strings.CutPrefix(line, "F: "); ok {
			return strings.TrimSpace(strings.ReplaceAll(s, path, ""))
		}
	}
	return strings.TrimSpace(text)
}

// differences says in which way DCMTK's bytes differ from the file's, by what
// dcmdump shows of both.
func differences(ctx context.Context, f *realFile, sent string, dataSet []byte) (string, error) {
	var dumps [2][]string
	for i, path := range []string{f.path, sent} {
		text, _, err := output(ctx, "dcmdump", "-q", "+L", "-Un", path)
		if err != nil {
			return "", err
		}
		dumps[i] = strings.Split(text, "\n")
	}
	kinds := map[string]bool{}
	for i, dump := range dumps {
		for _, line := range dump {
			if !slices.Contains(dumps[1-i], line) {
				kinds[differenceOf(line, dumps[1-i])] = true
			}
		}
	}
	delete(kinds, "")
	const encapsulated = "\xE0\x7F\x10\x00%s\x00\x00\xFF\xFF\xFF\xFF"
	if bytes.Contains(f.dataSet, fmt.Appendf(nil, encapsulated, "OW")) && bytes.Contains(dataSet, fmt.Appendf(nil, encapsulated, "OB")) {
		kinds["VR OB of PixelData"] = true
	}
	if f.syntax == dicom.DeflatedExplicitVRLittleEndian {
		kinds["deflated anew"] = true
	}
	if len(kinds) == 0 {
		return "", errors.New("DCMTK changed what dcmdump does not show")
	}
	return strings.Join(slices.Sorted(maps.Keys(kinds)), ", "), nil
}

// differenceOf says what it means that the other dump has not this line.
func differenceOf(line string, other []string) string {
	tag, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	value, _, _ := strings.Cut(line, " #")
	switch {
	case tag == "" || tag == "#" || strings.HasPrefix(tag, "(0002,"):
		return ""
	case tag == "(fffc,fffc)":
		return "no trailing padding"
	case strings.HasSuffix(tag, ",0000)"):
		return "group lengths"
	case strings.Contains(line, "explicit length") || strings.Contains(line, "undefined length"), strings.HasPrefix(tag, "(fffe,e0"):
		return "lengths of sequences"
	case slices.ContainsFunc(other, func(o string) bool { return strings.HasPrefix(o, value) }):
		return "padding of " + tag
	default:
		return "value of " + tag
	}
}

// storescp is DCMTK's receiver, which keeps the bytes as they come.
type storescp struct {
	dir, in, port string
	mu            sync.Mutex
}

// startPeers starts receivers; who wants one takes it from the channel.
func startPeers(t *testing.T, program string, files []*realFile, n int) chan *storescp {
	t.Helper()
	peers := make(chan *storescp, n)
	for range n {
		p := &storescp{dir: t.TempDir()}
		p.in = filepath.Join(p.dir, "in")
		config := filepath.Join(p.dir, "storescp.cfg")
		if err := errors.Join(os.Mkdir(p.in, 0o750), os.WriteFile(config, acceptAll(files), 0o600)); err != nil {
			t.Fatal(err)
		}
		p.port = freePort(t)
		start(t, program, "-q", "--bit-preserving", "-xf", config, "own", "-od", p.in, p.port)
		awaitPort(t, p.port)
		peers <- p
	}
	return peers
}

// acceptAll is a negotiation profile with all that the files have.
func acceptAll(files []*realFile) []byte {
	var classes, syntaxes []string
	for _, f := range files {
		if f.class != "" && !slices.Contains(classes, f.class) {
			classes = append(classes, f.class)
		}
		if f.syntax != "" && !slices.Contains(syntaxes, f.syntax) {
			syntaxes = append(syntaxes, f.syntax)
		}
	}
	var b bytes.Buffer
	b.WriteString("[[TransferSyntaxes]]\n[all]\n")
	for i, uid := range syntaxes {
		fmt.Fprintf(&b, "TransferSyntax%d = %s\n", i+1, uid)
	}
	b.WriteString("[[PresentationContexts]]\n[all]\n")
	for i, uid := range classes {
		fmt.Fprintf(&b, "PresentationContext%d = %s\\all\n", i+1, uid)
	}
	b.WriteString("[[Profiles]]\n[own]\nPresentationContexts = all\n")
	return b.Bytes()
}

// profile writes a negotiation profile "own" that proposes the transfer
// syntax of the file and no other.
func (p *storescp) profile(f *realFile) (string, error) {
	class, syntax := f.class, f.syntax
	if class == "" || syntax == "" {
		class, syntax = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.1"
	}
	at := filepath.Join(p.dir, "own.cfg")
	return at, os.WriteFile(at, acceptAll([]*realFile{{class: class, syntax: syntax}}), 0o600)
}

// receive has DCMTK send the file in the same way and returns what came.
func (p *storescp) receive(ctx context.Context, way []string, f *realFile) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, _, err := output(ctx, way[0], append(way[1:], "127.0.0.1", p.port, f.path)...)
	if err != nil {
		return "", err
	}
	got, err := filepath.Glob(filepath.Join(p.in, "*"))
	if err != nil || len(got) != 1 {
		return "", fmt.Errorf("storescp has %d files: %w\n%s", len(got), err, text)
	}
	return got[0], nil
}

// awaitPort waits until somebody listens.
func awaitPort(t *testing.T, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nobody listens on port %s", port)
		}
	}
}
