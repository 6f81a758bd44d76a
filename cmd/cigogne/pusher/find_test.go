package pusher_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/pusher"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestAFolderOfMedia: a DICOMDIR in a folder is no image that is refused, and
// a link, which is not followed, is named.
func TestAFolderOfMedia(t *testing.T) {
	dir, study := folder(t, 2)
	write(t, filepath.Join(dir, "DICOMDIR"), dicomdir(`IMAGES\NONE`))
	elsewhere := filepath.Join(t.TempDir(), "SECRET")
	write(t, elsewhere, dicomtest.NewStudy(dicomtest.Options{Seed: 3300, Modality: "CR", Instances: 1}).Instances[0].Part10())
	link := filepath.Join(dir, "images", "LINK")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	out, said, err := run(t, f, pusher.Options{Paths: []string{dir}})
	if want := (pusher.Outcome{Stored: int64(len(study.Instances)), Ignored: 3}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	if !strings.Contains(said, "ignored "+link+": ") {
		t.Errorf("the link is not named:\n%s", said)
	}
}

// TestAReferenceToAFIFO does not have the push wait for somebody who writes to
// it: nothing would end that.
func TestAReferenceToAFIFO(t *testing.T) {
	dir, study := folder(t, 1)
	if err := syscall.Mkfifo(filepath.Join(dir, "images", "FIFO"), 0o600); err != nil {
		t.Skip(err)
	}
	media := filepath.Join(dir, "DICOMDIR")
	write(t, media, dicomdir(`images\FIFO`, `images\`+study.Instances[0].SOPInstanceUID))
	out, said, err := run(t, &fake{}, pusher.Options{Paths: []string{media}})
	if want := (pusher.Outcome{Stored: 1, Refused: 1}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
}
