// Command synthesize writes a synthetic study as PS3.10 files, for trying
// things out and for measuring.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

func main() {
	var o dicomtest.Options
	flag.Uint64Var(&o.Seed, "seed", 1, "another seed makes another study")
	flag.IntVar(&o.Series, "series", 1, "number of series")
	flag.IntVar(&o.Instances, "instances", 10, "instances of each series")
	flag.IntVar(&o.Frames, "frames", 1, "frames of each instance")
	flag.StringVar(&o.Modality, "modality", "CT", "CT (526 KB an instance) or CR (22 KB)")
	flag.StringVar(&o.PatientName, "name", "", "PatientName, in UTF-8")
	flag.StringVar(&o.PatientID, "id", "", "PatientID")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: synthesize [flags] DIR")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if o.PatientName != "" {
		o.CharacterSet = "ISO_IR 192"
	}
	if err := write(flag.Arg(0), dicomtest.NewStudy(o)); err != nil {
		fmt.Fprintln(os.Stderr, "synthesize:", err)
		os.Exit(1)
	}
}

func write(dir string, study dicomtest.Study) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, in := range study.Instances {
		name := filepath.Join(dir, fmt.Sprintf("%02d-%05d.dcm", in.SeriesNumber, in.InstanceNumber))
		if err := os.WriteFile(name, in.Part10(), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s of study %s in %s\n", english.Plural(len(study.Instances), "instance", ""), study.StudyInstanceUID, dir)
	return nil
}
