package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestAResultOnATerminal stands on a line of its own, with nothing of a bar on
// it.
func TestAResultOnATerminal(t *testing.T) {
	t.Parallel()
	dir, study := files(t, dicomtest.Options{Seed: 8300, Modality: "CR", Instances: 2})
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	for _, c := range []struct {
		result string
		args   []string
	}{
		{"2 stored,", []string{"push", dir}},
		{"study " + study.StudyInstanceUID + ": 2 instances fetched,", []string{"pull", "--study", study.StudyInstanceUID, "-o", t.TempDir()}},
	} {
		result := c.result
		for line := range strings.Lines(onTerminal(t, append(c.args, "--gateway", node.web)...)) {
			// What is seen is what stands behind the last erasure.
			if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
				line = line[i+len("\r\x1b[K"):]
			}
			if strings.Contains(line, result) {
				if !strings.HasPrefix(line, result) {
					t.Errorf("%q", line)
				}
				result = ""
			}
		}
		if result != "" && !t.Failed() {
			t.Errorf("nothing says %q", result)
		}
	}
}

// onTerminal runs a command and returns all that its terminal is told.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = terminal, terminal
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	// It ends with EIO when nobody has the terminal open.
	for buf := make([]byte, 4096); ; {
		n, err := master.Read(buf)
		told.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%q", err, told.String())
	}
	return told.String()
}

// TestResultsThatDoNotArrive: a program that reads them from a file on a full
// disk is not told that all is well.
func TestResultsThatDoNotArrive(t *testing.T) {
	t.Parallel()
	dir, study := files(t, dicomtest.Options{Seed: 8400, Modality: "CR", Instances: 1})
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	for _, args := range [][]string{{"push", dir}, {"push", "--json", dir}, {"pull", "--study", study.StudyInstanceUID, "-o", t.TempDir()}} {
		var errs bytes.Buffer
		code := run(t.Context(), append(args, "--gateway", node.web), nil, fullDisk{}, &errs)
		if code != exitFailure || !strings.Contains(errs.String(), syscall.ENOSPC.Error()) {
			t.Errorf("%s: exit code %d\n%s", args, code, &errs)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
