package dicom

// ScanLimits bounds what a Scanner and WriteJSON accept and keep. A field that
// is zero takes its default.
type ScanLimits struct {
	// MaxDepth is how deep sequences may be nested (default 32).
	MaxDepth int
	// MaxElements is how many elements and items a Data Set may have
	// (default 4 Mi).
	MaxElements int
	// MaxFragments is how many fragments PixelData may have (default 1 Mi).
	MaxFragments int

	// BulkBinary is the length in bytes above which a value of a binary or
	// numeric VR is left where it lies, as Bulk (default 1 KiB).
	BulkBinary int
	// BulkText is the same for text (default 64 KiB).
	BulkText int
	// MaxIdentity is the length in bytes of the longest value that identifies
	// (default 1 KiB): by its VR none has more than some hundred, but a query's
	// may be a list.
	MaxIdentity int
	// MaxBulk is how many Bulk values Layout lists (default 1024).
	MaxBulk int
	// MaxKept is how many bytes Result.DataSet may take in memory (default
	// 512 KiB); beyond, Result.Overflow is set.
	MaxKept int
	// KeptFragments is how many fragments Layout.Frames lists (default
	// 40,000, which take 1 MiB); with more, it is nil.
	KeptFragments int

	// MaxInflated is how many bytes a deflated Data Set may become (default
	// 4 GiB), and MaxRatio how many times its length, once it has passed 64
	// MiB (default 256).
	MaxInflated int64
	MaxRatio    int64
}

func (l ScanLimits) withDefaults() ScanLimits {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.MaxDepth, 32},
		{&l.MaxElements, 4 << 20},
		{&l.MaxFragments, 1 << 20},
		{&l.BulkBinary, 1 << 10},
		{&l.BulkText, 64 << 10},
		{&l.MaxIdentity, 1 << 10},
		{&l.MaxBulk, 1024},
		{&l.MaxKept, 512 << 10},
		{&l.KeptFragments, 40_000},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if l.MaxInflated <= 0 {
		l.MaxInflated = 4 << 30
	}
	if l.MaxRatio <= 0 {
		l.MaxRatio = 256
	}
	return l
}

// bulk tells whether the value is left where it lies.
func (l ScanLimits) bulk(h *header) bool {
	if h.length == 0 {
		return false
	}
	switch h.tag {
	case tagPixelData, tagFloatPixelData, tagDoubleFloatPixelData:
		return true
	}
	switch h.vr.class() {
	case classBinary, classNumber, classAT:
		return h.length > int64(l.BulkBinary)
	}
	return h.length > int64(l.BulkText)
}
