package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

var (
	crashSeed  = flag.Uint64("crash.seed", uint64(time.Now().UnixNano()), "seed of the crash test's moments")
	crashKills = flag.Int("crash.kills", 0, "how often the crash test kills the process (60, with -short 10)")
)

// ledger is what the senders of one round know.
type ledger struct {
	mu           sync.Mutex
	sent         map[storage.InstanceKey]storage.Digest
	acknowledged map[storage.InstanceKey]storage.Digest
	first        chan struct{} // closed with the first acknowledgement
}

func newLedger() *ledger {
	return &ledger{
		sent: map[storage.InstanceKey]storage.Digest{}, acknowledged: map[storage.InstanceKey]storage.Digest{},
		first: make(chan struct{}),
	}
}

func (l *ledger) send(in dicomtest.Instance) []byte {
	b := in.DataSet()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[keyOf(in)] = storage.DigestOf(b)
	return b
}

func (l *ledger) acknowledge(in dicomtest.Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acknowledged) == 0 {
		close(l.first)
	}
	l.acknowledged[keyOf(in)] = l.sent[keyOf(in)]
}

// TestCrash kills the node at random moments while it is pushed to in every
// way. After each restart everything that was acknowledged is there bit for
// bit, and nothing is listed that cannot be read whole.
func TestCrash(t *testing.T) {
	t.Parallel() // it waits more than it works
	kills := *crashKills
	if kills == 0 {
		kills = 60
		if testing.Short() {
			kills = 10
		}
	}
	t.Logf("-crash.seed %d", *crashSeed)
	random := rand.New(rand.NewPCG(*crashSeed, 1))
	dir := t.TempDir()
	all := map[storage.InstanceKey]storage.Digest{}
	node := serve(t, dir, "--settle", "20ms", "--log-level", "error")
	for round := range kills {
		l := newLedger()
		ctx, stop := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		for i := range 4 {
			seed := uint64(round*10 + i)
			senders.Go(func() { push(ctx, node, l, seed) })
		}
		if round%4 > 0 { // in one round of four also before anything was acknowledged
			<-l.first
		}
		<-time.After(time.Duration(random.IntN(150)) * time.Millisecond)
		node.kill()
		stop()
		senders.Wait()
		node = serve(t, dir, "--settle", "20ms", "--log-level", "error")
		maps.Copy(all, l.acknowledged)
		checkRound(t, node, l)
		checkSome(t, node, all, 10, random)
		if t.Failed() {
			t.Fatalf("round %d\n%s", round, node.log)
		}
	}
	checkSome(t, node, all, len(all), random)
	node.stop()
	t.Logf("%d kills, %d instances acknowledged", kills, len(all))
	if len(all) < kills/2 { // in a round of four there may be none
		t.Errorf("only %d instances were acknowledged: the test shows little", len(all))
	}
	fsck(t, dir)
}

// push sends small, middling and large instances until it is cut off: seeds
// that are even by STOW-RS, odd ones over an association with operations in
// flight.
func push(ctx context.Context, node *process, l *ledger, seed uint64) {
	study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 400})
	study.Instances = append(dicomtest.NewStudy(dicomtest.Options{Seed: seed + 1<<32, Frames: 3, Instances: 1}).Instances, study.Instances...)
	if seed%2 == 0 {
		for batch := range slices.Chunk(study.Instances, 5) {
			if !pushSTOW(ctx, node, l, batch) {
				return
			}
		}
		return
	}
	a, err := associate(ctx, node.dimse, 8, study.Instances[0], study.Instances[1])
	if err != nil {
		return
	}
	defer a.Abort()
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	slots := make(chan struct{}, 8)
	for _, in := range study.Instances {
		if ctx.Err() != nil {
			return
		}
		b := l.send(in)
		slots <- struct{}{}
		inFlight.Go(func() {
			defer func() { <-slots }()
			if cstore(ctx, a, in, bytes.NewReader(b)) == nil {
				l.acknowledge(in)
			}
		})
	}
}

func pushSTOW(ctx context.Context, node *process, l *ledger, batch []dicomtest.Instance) bool {
	byUID := map[string]dicomtest.Instance{}
	var files [][]byte
	for _, in := range batch {
		byUID[in.SOPInstanceUID] = in
		files = append(files, append(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, in.TransferSyntaxUID), l.send(in)...))
	}
	_, stored, err := stow(ctx, node.web, files...)
	for _, uid := range stored {
		l.acknowledge(byUID[uid])
	}
	return err == nil
}

// checkRound looks at all that was sent in one round, acknowledged or not.
func checkRound(t *testing.T, node *process, l *ledger) {
	t.Helper()
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
	studies := map[string]bool{}
	for k := range l.sent {
		studies[k.StudyInstanceUID] = true
	}
	for study := range studies {
		found, err := search(t.Context(), node.web, "studies/"+study+"/instances", url.Values{"limit": {"1000"}})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Error(err)
		}
		for _, ds := range found {
			k := storage.InstanceKey{StudyInstanceUID: study, SeriesInstanceUID: ds.String(0x0020000E), SOPInstanceUID: ds.String(0x00080018)}
			checkOne(t, node, k, l.sent[k], "listed")
		}
	}
}

// checkSome looks at n of the instances.
func checkSome(t *testing.T, node *process, all map[storage.InstanceKey]storage.Digest, n int, random *rand.Rand) {
	t.Helper()
	keys := slices.SortedFunc(maps.Keys(all), func(a, b storage.InstanceKey) int { return strings.Compare(a.String(), b.String()) })
	if n < len(keys) {
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		keys = keys[:n]
	}
	for _, k := range keys {
		checkOne(t, node, k, all[k], "acknowledged")
	}
}

func checkOne(t *testing.T, node *process, k storage.InstanceKey, want storage.Digest, what string) {
	t.Helper()
	got, err := fetch(t.Context(), node.web, k)
	if err != nil {
		t.Errorf("%s instance %s: %v", what, k.SOPInstanceUID, err)
	} else if got != want {
		t.Errorf("%s instance %s has digest %s, not %s", what, k.SOPInstanceUID, got, want)
	}
}

// fsck checks the stores of a stopped node.
func fsck(t *testing.T, dir string, flags ...string) {
	t.Helper()
	out, err := command(t.Context(), append([]string{"fsck", "--data-dir", dir}, flags...)...).CombinedOutput()
	if err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}

// TestRebuild makes the index anew after the old one is gone: every answer is
// as before.
func TestRebuild(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := t.TempDir()
	node := serve(t, dir, "--settle", "20ms")
	l := newLedger()
	for seed := range uint64(3) {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: seed + 1, Modality: "CR", Instances: 10, Series: 2})
		if !pushSTOW(t.Context(), node, l, study.Instances) {
			t.Fatal("push failed")
		}
	}
	node.archived()
	node.stop()
	node = serve(t, dir, "--settle", "1h") // what comes now stays in the journal
	late := dicomtest.NewStudy(dicomtest.Options{Seed: 9, Modality: "CR", Instances: 5})
	if !pushSTOW(t.Context(), node, l, late.Instances) {
		t.Fatal("push failed")
	}
	before := everything(t, node)
	node.stop()
	fsck(t, dir)
	removeIndex(t, dir)
	if _, err := tryServe(t, dir); err == nil || !strings.Contains(err.Error(), "cigogne archive rebuild-index") {
		t.Errorf("a node without its index must ask for a rebuild, not %v", err)
	}
	if out, err := command(t.Context(), "archive", "rebuild-index", "--data-dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("rebuild: %v\n%s", err, out)
	}
	fsck(t, dir)
	node = serve(t, dir)
	if after := everything(t, node); after != before {
		t.Errorf("the index differs after a rebuild\nbefore %s\nafter  %s", before, after)
	}
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
}

func removeIndex(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
}

// everything is what QIDO-RS says at all levels.
func everything(t *testing.T, node *process) string {
	t.Helper()
	var all strings.Builder
	for _, resource := range []string{"studies", "series", "instances"} {
		found, err := search(t.Context(), node.web, resource, url.Values{"includefield": {"all"}, "limit": {"1000"}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%d %s\n", len(found), resource)
		for _, ds := range found {
			b, err := ds.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(strings.ReplaceAll(string(b), node.web, "") + "\n")
		}
	}
	return all.String()
}

// metric is the value of a line of /metrics.
func metric(t *testing.T, node *process, name string) string {
	t.Helper()
	body, err := get(t.Context(), node.web+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}
