package dicom

// known tells whether vr is one of PS3.5 §6.2.
func (vr VR) known() bool { return vr.class() != classUnknown }

// class groups the VRs by how their values are laid out and shown.
type class uint8

const (
	classUnknown class = iota
	classStrings       // several values parted by backslashes
	classText          // one value, in which a backslash is a character
	classPN
	classDecimal // DS and IS: numbers written as text
	classNumber  // numbers in binary
	classAT
	classBinary
	classSQ
)

func (vr VR) class() class {
	switch vr {
	case "AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI":
		return classStrings
	case "LT", "ST", "UT", "UR":
		return classText
	case "PN":
		return classPN
	case "DS", "IS":
		return classDecimal
	case "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV":
		return classNumber
	case "AT":
		return classAT
	case "OB", "OD", "OF", "OL", "OV", "OW", "UN":
		return classBinary
	case "SQ":
		return classSQ
	}
	return classUnknown
}

// longForm tells whether Explicit VR gives vr a 32-bit length after two
// reserved bytes (PS3.5 §7.1.2).
func (vr VR) longForm() bool {
	switch vr {
	case "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV":
		return true
	}
	return false
}

// charset tells whether SpecificCharacterSet applies to vr (PS3.5 §6.1.2.3).
func (vr VR) charset() bool {
	switch vr {
	case "LO", "LT", "PN", "SH", "ST", "UC", "UT":
		return true
	}
	return false
}

// wordSize is the number of bytes that Big Endian writes in reverse.
func (vr VR) wordSize() int {
	switch vr {
	case "AT", "OW", "SS", "US":
		return 2
	case "FL", "OF", "OL", "SL", "UL":
		return 4
	case "FD", "OD", "OV", "SV", "UV":
		return 8
	}
	return 1
}

// vrOf turns two bytes into a VR without allocating.
func vrOf(a, b byte) VR {
	const all = "AEASATCSDADSDTFDFLISLOLTOBODOFOLOVOWPNSHSLSQSSSTSVTMUCUIULUNURUSUTUV"
	for i := 0; i < len(all); i += 2 {
		if all[i] == a && all[i+1] == b {
			return VR(all[i : i+2])
		}
	}
	return ""
}
