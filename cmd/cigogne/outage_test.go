package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// pushUntilLimit pushes until the answer is that the journal is at its limit:
// 503 with Retry-After, or A700.
func pushUntilLimit(t *testing.T, node *process, l *ledger, seed uint64, web bool) {
	t.Helper()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: seed, Instances: 60})
	a, err := associate(t.Context(), node.dimse, 0, study.Instances[0])
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	for _, in := range study.Instances {
		b := l.send(in)
		if !web {
			status, err := a.Store(t.Context(), dimse.StoreRequest{
				SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID, TransferSyntaxUID: in.TransferSyntaxUID, DataSet: bytes.NewReader(b),
			})
			switch {
			case err != nil:
				t.Fatal(err)
			case status == dimse.StatusOutOfResources:
				return
			case status != dimse.StatusSuccess:
				t.Fatalf("C-STORE: %v", status)
			}
			l.acknowledge(in)
			continue
		}
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+"/dicom-web/studies", bytes.NewReader(in.Part10()))
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("Content-Type", "application/dicom")
		answer, err := http.DefaultClient.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		switch {
		case answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "":
			return
		case answer.StatusCode != http.StatusOK:
			t.Fatalf("STOW-RS: %s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
		}
		l.acknowledge(in)
	}
	t.Fatal("everything was taken, and the journal was to come to its limit")
}

// TestJournalLimit: while the archive is away instances are taken until the
// journal has what it may have, and refused in a way that has senders try
// again; what is there is given; and when the archive is back everything
// drains without anybody's doing, also a series that is not quiet yet.
func TestJournalLimit(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	dir, url := t.TempDir(), s3URL(server)
	node := serve(t, dir, "--archive", url, "--journal-max", "16MiB", "--settle", "1h", "--log-level", "error")
	l := newLedger()
	server.Kill(t)
	for i, web := range []bool{true, false} {
		pushUntilLimit(t, node, l, uint64(i+1), web)
	}
	if len(l.acknowledged) < 10 {
		t.Errorf("only %d instances were taken into a journal of 16 MiB", len(l.acknowledged))
	}
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
	node.eventually("told of", func() bool {
		ready, why := checks(t, node)
		return !ready && strings.Contains(why["journal"], "may take") && why["archive"] != "" &&
			metric(t, node, "cigogne_archive_failing") == "1"
	})
	if got := metric(t, node, "cigogne_journal_limit_bytes"); got != "1.6777216e+07" {
		t.Errorf("cigogne_journal_limit_bytes %s", got)
	}
	node.kill() // and it comes up again at its limit
	node = serve(t, dir, "--archive", url, "--journal-max", "16MiB", "--settle", "1h", "--log-level", "error")
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
	pushUntilLimit(t, node, l, 3, true)

	server.Restart(t)
	node.eventually("ready", func() bool { ready, _ := checks(t, node); return ready })
	if !pushSTOW(t.Context(), node, l, dicomtest.NewStudy(dicomtest.Options{Seed: 4, Modality: "CR", Instances: 5}).Instances) {
		t.Error("nothing is taken again")
	}
	node.stop()
	node = serve(t, dir, "--archive", url, "--journal-max", "16MiB", "--settle", "0", "--log-level", "error")
	expectOnce(t, node, dir, l, "--archive", url)
}

// expectOnce waits until all is archived, and expects every instance that was
// acknowledged in the archives: with its very bytes, and once.
func expectOnce(t *testing.T, node *process, dir string, l *ledger, flags ...string) {
	t.Helper()
	body, err := get(t.Context(), node.web+"/dicom-web/studies?limit=1", "application/dicom+json") // which waits for the index
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	node.eventually("archived", func() bool {
		return metric(t, node, `cigogne_index_held{kind="live"}`) == "0" && metric(t, node, `cigogne_index_held{kind="planned"}`) == "0"
	})
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
	held := metric(t, node, `cigogne_index_held{kind="instances"}`)
	node.stop()
	code, said := told(t, dir, "archive verify", flags...)
	instances, err := strconv.Atoi(held)
	if err != nil {
		t.Fatal(err)
	}
	if code != exitOK || !strings.Contains(said, "with "+english.Plural(instances, "instance", "")) {
		t.Errorf("verify: exit code %d; the index has %s instances: %s", code, held, said)
	}
	if code, said := told(t, dir, "fsck", flags...); code != exitOK {
		t.Errorf("fsck: exit code %d, %s", code, said)
	}
}

// fault is one of those that lines and servers have.
func fault(random *rand.Rand) s3test.Fault {
	switch random.IntN(14) {
	case 0:
		return s3test.Fault{Status: 500, Code: "InternalError"}
	case 1:
		return s3test.Fault{Status: 503, Code: "SlowDown"}
	case 2:
		return s3test.Fault{Reset: true}
	case 3:
		return s3test.Fault{Reset: true, LoseAnswer: true}
	case 4:
		return s3test.Fault{Delay: 50 * time.Millisecond}
	case 5:
		return s3test.Fault{CutAnswer: 1 + random.Int64N(100_000)}
	case 6:
		return s3test.Fault{FlipRequest: 1 + random.Int64N(50_000)}
	case 7:
		return s3test.Fault{FlipAnswer: 1 + random.Int64N(50_000)}
	}
	return s3test.Fault{}
}

// TestOutagesUnderLoad: the server is killed and started again and again, and
// so is the node now and then, while instances are pushed and read through a
// line that does all that lines do. Nothing that was acknowledged is lost, and
// nothing lies in the archive twice.
func TestOutagesUnderLoad(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	t.Logf("-crash.seed %d", *crashSeed)
	random := rand.New(rand.NewPCG(*crashSeed, 2)) // guarded by mu
	server := s3test.Start(t)
	proxy := s3test.StartProxy(t, server.URL())
	var mu sync.Mutex
	proxy.Do(func(*http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		return fault(random)
	})
	dir := t.TempDir()
	flags := []string{"--archive", s3URLAt(proxy.URL), "--settle", "20ms", "--log-level", "error"}
	node := serve(t, dir, flags...)
	all := newLedger()
	for round := range rounds {
		l := newLedger()
		ctx, stop := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		for i := range 2 {
			senders.Go(func() { push(ctx, node, l, uint64(1000+round*10+i)) })
		}
		<-l.first
		mu.Lock()
		moment := time.Duration(50+random.IntN(200)) * time.Millisecond
		mu.Unlock()
		<-time.After(moment)
		server.Kill(t)
		if round%3 == 2 {
			node.kill()
			node = serve(t, dir, flags...)
		}
		stop()
		senders.Wait()
		server.Restart(t)
		for k, digest := range l.acknowledged {
			all.acknowledged[k] = digest
		}
	}
	proxy.Do(nil)
	t.Logf("%d instances were acknowledged in %d rounds", len(all.acknowledged), rounds)
	expectOnce(t, node, dir, all, flags[:2]...)
}
