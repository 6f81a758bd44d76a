package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// smallDisk mounts a file system of that size, and lays a ballast file of the
// other size in it, whose removal is how space returns.
func smallDisk(t *testing.T, size, ballast int64) (dir string, makeRoom func()) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("cigogne-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, ballast), f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// fillDisk writes a file until nothing more fits.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 64<<10); len(b) > 0; {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			b = b[:len(b)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// checks is what /readyz says.
func checks(t *testing.T, node *process) (ready bool, why map[string]string) {
	t.Helper()
	answer, err := http.Get(node.web + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var says struct {
		Ready  bool    `json:"ready"`
		Checks []check `json:"checks"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&says); err != nil {
		t.Fatal(err)
	}
	if says.Ready != (answer.StatusCode == http.StatusOK) {
		t.Errorf("/readyz: %s, and ready is %t", answer.Status, says.Ready)
	}
	why = map[string]string{}
	for _, c := range says.Checks {
		if !c.Ready {
			why[c.Name] = c.Why
		}
	}
	return says.Ready, why
}

// fillByPushing pushes by four senders until each is told that the disk is
// full, and checks how it is told.
func fillByPushing(t *testing.T, node *process, l *ledger, seed uint64) {
	t.Helper()
	var senders sync.WaitGroup
	for i := range uint64(4) {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: seed + i, Instances: 400})
		senders.Go(func() {
			if err := errors.Join(pushUntilFull(t.Context(), node, l, study, i%2 == 0)); err != nil {
				t.Errorf("sender %d: %v", i, err)
			}
		})
	}
	senders.Wait()
}

var errNotFull = errors.New("everything was taken, and the disk was to be full")

func pushUntilFull(ctx context.Context, node *process, l *ledger, study dicomtest.Study, web bool) error {
	a, err := associate(ctx, node.dimse, 4, study.Instances[0])
	if err != nil {
		return err
	}
	defer a.Abort()
	for _, in := range study.Instances {
		full, err := pushOne(ctx, node, l, a, in, web)
		if full || err != nil {
			return err
		}
	}
	return errNotFull
}

// pushOne pushes an instance and tells whether the answer was that the disk is
// full: A700 over DIMSE, 507 with FailureReason A700 over HTTP.
func pushOne(ctx context.Context, node *process, l *ledger, a *dimse.Association, in dicomtest.Instance, web bool) (full bool, err error) {
	b := l.send(in)
	if web {
		file := append(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, in.TransferSyntaxUID), b...)
		status, reason, err := stowReason(ctx, node.web, file)
		switch {
		case err != nil:
			return false, err
		case status == http.StatusOK:
			l.acknowledge(in)
			return false, nil
		case status == http.StatusInsufficientStorage && reason == "42752": // A700
			return true, nil
		}
		return false, fmt.Errorf("STOW-RS: %d, FailureReason %s", status, reason)
	}
	status, err := a.Store(ctx, dimse.StoreRequest{
		SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID, TransferSyntaxUID: in.TransferSyntaxUID, DataSet: bytes.NewReader(b),
	})
	switch {
	case err != nil:
		return false, err
	case status == dimse.StatusSuccess:
		l.acknowledge(in)
		return false, nil
	case status == dimse.StatusOutOfResources:
		return true, nil
	}
	return false, fmt.Errorf("C-STORE: status %s", status)
}

// expectRecovery makes sure that without a restart everything is as if the
// disk had never been full: new instances are taken, all are archived, what was
// acknowledged is there, and the stores agree.
func expectRecovery(t *testing.T, node *process, dir string, l *ledger, seed uint64, archive ...string) {
	t.Helper()
	node.eventually("ready", func() bool { ready, _ := checks(t, node); return ready })
	for i, web := range []bool{true, false} {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: seed + uint64(i), Modality: "CR", Instances: 5})
		if err := pushUntilFull(t.Context(), node, l, study, web); !errors.Is(err, errNotFull) {
			t.Errorf("pushing again: %v\n%s", err, node.log)
		}
	}
	node.eventually("archived", func() bool {
		return metric(t, node, `cigogne_index_held{kind="live"}`) == "0"
	})
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
	if ready, why := checks(t, node); !ready {
		t.Errorf("not ready: %v", why)
	}
	node.stop()
	args := append([]string{"fsck", "--data-dir", dir}, archive...)
	if out, err := command(t.Context(), args...).CombinedOutput(); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
	t.Logf("%d instances were acknowledged", len(l.acknowledged))
}

// checkReadable looks at all that was acknowledged while the disk is full:
// each is answered at once, with its very bytes or, as long as the index could
// not take it, with 503.
func checkReadable(t *testing.T, node *process, l *ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	later := 0
	for k, want := range l.acknowledged {
		switch got, err := fetch(ctx, node.web, k); {
		case err != nil && strings.Contains(err.Error(), "503"):
			later++
		case err != nil:
			t.Errorf("acknowledged instance %s: %v", k.SOPInstanceUID, err)
		case got != want:
			t.Errorf("acknowledged instance %s has digest %s, not %s", k.SOPInstanceUID, got, want)
		}
	}
	t.Logf("%d of %d acknowledged instances are to be asked for later", later, len(l.acknowledged))
}

// TestDiskFull fills the one disk of a node by pushing to it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk, makeRoom := smallDisk(t, 160<<20, 112<<20)
	dir := filepath.Join(disk, "data")
	node := serve(t, dir, "--settle", "1h", "--log-level", "error")
	l := newLedger()
	whileServing(t, node, func() {
		fillByPushing(t, node, l, 100)
		fillDisk(t, filepath.Join(disk, "more")) // what was too little for an instance
		if ready, why := checks(t, node); ready || !strings.Contains(fmt.Sprint(why), "out of space") {
			t.Errorf("/readyz does not say why: %t, %v", ready, why)
		}
		checkReadable(t, node, l)
		fillByPushing(t, node, l, 200) // still full, and told in the same way
	})
	if len(l.acknowledged) < 20 {
		t.Errorf("only %d instances fitted", len(l.acknowledged))
	}
	// The same when it starts on a full disk.
	node.kill()
	node = serve(t, dir, "--settle", "100ms", "--log-level", "error")
	checkReadable(t, node, l)
	makeRoom()
	expectRecovery(t, node, dir, l, 300)
}

// TestDiskFullWhileArchiving fills the disk while packs are written to it too,
// and gives space back to the running node.
func TestDiskFullWhileArchiving(t *testing.T) {
	t.Parallel()
	disk, makeRoom := smallDisk(t, 96<<20, 64<<20)
	dir := filepath.Join(disk, "data")
	node := serve(t, dir, "--settle", "50ms", "--log-level", "error")
	l := newLedger()
	whileServing(t, node, func() {
		fillByPushing(t, node, l, 400)
		checkReadable(t, node, l)
	})
	makeRoom()
	expectRecovery(t, node, dir, l, 500)
}

// TestIndexDiskFull: the index's disk is full and the journal's is not. What
// was acknowledged is found as soon as there is room; until then senders are
// told to come again.
func TestIndexDiskFull(t *testing.T) {
	t.Parallel()
	disk, makeRoom := smallDisk(t, 16<<20, 8<<20)
	dir := t.TempDir()
	if err := os.Symlink(disk, filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	node := serve(t, dir, "--settle", "50ms", "--log-level", "error")
	l := newLedger()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 600, Modality: "CR", Instances: 3})
	if err := pushUntilFull(t.Context(), node, l, study, true); !errors.Is(err, errNotFull) {
		t.Fatal(err)
	}
	fillDisk(t, filepath.Join(disk, "more"))
	whileServing(t, node, func() {
		fillByPushing(t, node, l, 610)
		checkReadable(t, node, l)
		if ready, why := checks(t, node); ready || why["index"] == "" {
			t.Errorf("/readyz does not say why: %t, %v", ready, why)
		}
	})
	makeRoom()
	expectRecovery(t, node, dir, l, 700)
}

// TestArchiveDiskFull: the archive's disk is full and the journal's is not.
// Instances are taken all the same, and archived once there is room.
func TestArchiveDiskFull(t *testing.T) {
	t.Parallel()
	disk, makeRoom := smallDisk(t, 96<<20, 88<<20)
	dir := t.TempDir()
	archive := []string{"--archive", "dir://" + filepath.Join(disk, "archive")}
	node := serve(t, dir, append(archive, "--settle", "50ms")...)
	l := newLedger()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 800, Instances: 60})
	whileServing(t, node, func() {
		for i := range uint64(2) {
			if err := pushUntilFull(t.Context(), node, l, study, i == 0); !errors.Is(err, errNotFull) {
				t.Errorf("ingest must go on: %v", err)
			}
			study = dicomtest.NewStudy(dicomtest.Options{Seed: 801, Instances: 20})
		}
		node.eventually("told that archiving fails", func() bool { return strings.Contains(node.log.String(), "archiving failed") })
		checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
		node.eventually("not ready, for want of space", func() bool {
			fillDisk(t, filepath.Join(disk, "more")) // an attempt that failed may have given space back
			ready, why := checks(t, node)
			return !ready && strings.Contains(why["archive"], "out of space")
		})
	})
	makeRoom()
	expectRecovery(t, node, dir, l, 900, archive...)
}
