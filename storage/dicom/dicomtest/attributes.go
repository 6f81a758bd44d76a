package dicomtest

import (
	"fmt"
	"strconv"
)

// Name is a person name in the bytes of a character set.
type Name struct {
	CharacterSet string // SpecificCharacterSet
	Bytes        string
	UTF8         string
}

// Names are names as they are met in the region, and further away.
func Names() []Name { return names() }

func names() []Name {
	return []Name{
		{"ISO_IR 100", "M\xfcller^H\xe9l\xe8ne", "Müller^Hélène"},
		{"ISO_IR 100", "Sch\xe4ffer^Fran\xe7ois", "Schäffer^François"},
		{"ISO_IR 192", "Wœrth^Noëlle", "Wœrth^Noëlle"},
		{"ISO_IR 192", "D'Angélo^Zoé^^Dr", "D'Angélo^Zoé^^Dr"},
		{`\ISO 2022 IR 87`, "Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B", "Yamada^Tarou=山田^太郎=やまだ^たろう"},
		{"", "Meyer^Jean", "Meyer^Jean"},
	}
}

// attributes are those of the instance up to PixelData: some 60 of them, with
// sequences and private ones, as a scanner writes.
func (i Instance) attributes() *Builder {
	b := &Builder{Implicit: i.TransferSyntaxUID == ImplicitLE, Big: i.TransferSyntaxUID == ExplicitBE}
	if i.opts.CharacterSet != "" {
		b.Text(0x00080005, "CS", i.opts.CharacterSet)
	}
	b.Text(0x00080008, "CS", `ORIGINAL\PRIMARY\AXIAL`)
	b.Text(0x00080016, "UI", i.SOPClassUID).Text(0x00080018, "UI", i.SOPInstanceUID)
	b.Text(0x00080020, "DA", "20250314").Text(0x00080021, "DA", "20250314")
	b.Text(0x00080030, "TM", "101500").Text(0x00080050, "SH", "A"+i.opts.PatientID)
	b.Text(0x00080060, "CS", i.opts.Modality).Text(0x00080070, "LO", "Cigogne")
	b.Text(0x00080080, "LO", "CH Haguenau").Text(0x00080090, "PN", "")
	b.Text(0x00081030, "LO", "Thorax").Text(0x0008103E, "LO", "Series "+strconv.Itoa(i.SeriesNumber))
	b.Sequence(0x00081110, func(in *Builder) {
		in.Text(0x00081150, "UI", "1.2.840.10008.3.1.2.3.1").Text(0x00081155, "UI", i.StudyInstanceUID+".9")
	})
	b.OpenSequence(0x00081140, func(in *Builder) {
		in.Text(0x00081150, "UI", CTImage).Text(0x00081155, "UI", i.SeriesInstanceUID+".9")
	})
	b.Text(0x00090010, "LO", "CIGOGNE TEST").Binary(0x00091001, "OB", []byte{1, 2, 3, 4})
	b.Text(0x00100010, "PN", i.opts.PatientName).Text(0x00100020, "LO", i.opts.PatientID)
	b.Text(0x00100030, "DA", "19501224").Text(0x00100040, "CS", "F")
	b.Text(0x00180015, "CS", "CHEST").Text(0x00180050, "DS", "1.25").Text(0x00180060, "DS", "120")
	b.Text(0x00181030, "LO", "Thorax").Text(0x00185100, "CS", "HFS")
	b.Text(0x0020000D, "UI", i.StudyInstanceUID).Text(0x0020000E, "UI", i.SeriesInstanceUID)
	b.Text(0x00200010, "SH", "1").Text(0x00200011, "IS", strconv.Itoa(i.SeriesNumber))
	b.Text(0x00200013, "IS", strconv.Itoa(i.InstanceNumber))
	b.Text(0x00200032, "DS", fmt.Sprintf(`-250\-250\%.2f`, float64(i.InstanceNumber)*1.25))
	b.Text(0x00200037, "DS", `1\0\0\0\1\0`).Text(0x00200052, "UI", i.StudyInstanceUID+".1")
	i.image(b)
	b.Text(0x00400244, "DA", "20250314")
	return b
}

func (i Instance) image(b *Builder) {
	size := uint16(i.rows())
	b.US(0x00280002, 1).Text(0x00280004, "CS", "MONOCHROME2")
	if i.opts.Frames > 1 {
		b.Text(0x00280008, "IS", strconv.Itoa(i.opts.Frames))
	}
	b.US(0x00280010, size).US(0x00280011, size).Text(0x00280030, "DS", `0.9765625\0.9765625`)
	b.US(0x00280100, 16).US(0x00280101, 12).US(0x00280102, 11).US(0x00280103, 0)
	b.Text(0x00281050, "DS", "40").Text(0x00281051, "DS", "400")
	b.Text(0x00281052, "DS", "-1024").Text(0x00281053, "DS", "1")
}
