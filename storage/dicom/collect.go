package dicom

import (
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// Result is what a Scanner found in a Data Set.
type Result struct {
	// The identifying attributes, without padding; empty when missing. They
	// are not checked to be UIDs.
	SOPClassUID       string
	SOPInstanceUID    string
	StudyInstanceUID  string
	SeriesInstanceUID string
	// DataSet has all elements, but for group lengths and trailing padding.
	DataSet DataSet
	Layout  Layout
	// Overflow tells that DataSet would have passed ScanLimits.MaxKept:
	// top-level sequences, private and other elements are missing from it, the
	// largest first. Top-level values of groups 0008 to 0040 are kept longest.
	// WriteJSON gives the whole.
	Overflow bool
}

// What an element costs in memory beside its text.
const (
	elementCost = 80
	valueCost   = 16
	bulkCost    = 96
)

// collector is the visitor that builds a Result.
type collector struct {
	limits ScanLimits
	// ranges is false when offsets mean nothing: in a deflated Data Set.
	ranges bool

	res    Result
	pixels pixels   // of the top-level PixelData
	cs     *charset // of the Data Set, in force at top level
	open   []openSequence
	kept   int

	identity identity
	refused  error // why the element that was announced last is not taken
	// encapsulated is the value whose fragments are being met.
	encapsulated *Bulk
	// dropping is set while inside a top-level sequence that did not fit.
	dropping bool
	// before is what was kept when the top-level sequence began.
	before int
}

type openSequence struct {
	tag   Tag
	items []DataSet
	item  DataSet
	count int // items met, though they may have been dropped
	cs    *charset
}

func newCollector(room DataSet, limits ScanLimits, ranges bool) *collector {
	c := &collector{limits: limits, ranges: ranges}
	c.res.DataSet = room[:0]
	return c
}

func (c *collector) charset() *charset {
	if len(c.open) == 0 {
		return c.cs
	}
	return c.open[len(c.open)-1].cs
}

func (c *collector) element(h *header) int {
	if len(c.open) == 0 {
		if c.refused = c.identity.admit(h, c.limits.MaxIdentity); c.refused != nil {
			return 0 // value tells
		}
	}
	switch {
	case !inMetadata(h.tag):
		return -1
	case c.limits.bulk(h):
		c.bulk(h)
		if h.tag == tagExtendedOffsetTable && len(c.open) == 0 && h.length <= 8*int64(c.limits.KeptFragments) {
			return int(h.length)
		}
		return -1
	case c.dropping && h.tag != tagSpecificCharacterSet:
		return -1
	}
	return int(h.length)
}

func (c *collector) value(h *header, p []byte) error {
	switch {
	case c.refused != nil:
		return c.refused
	case h.tag == tagItem:
		c.pixels.bytes(p)
		return nil
	case h.tag == tagExtendedOffsetTable && len(c.open) == 0:
		c.pixels.extended(h, p)
		if c.limits.bulk(h) {
			return nil
		}
	}
	values := decodeValues(h, p, c.charset())
	if len(c.open) == 0 && identifying(h.tag) {
		if again, err := c.identity.note(h, p, values); again || err != nil {
			return err
		}
	}
	if h.tag == tagSpecificCharacterSet {
		c.setCharset(newCharset(values))
		values = inUTF8(values)
	}
	if c.dropping {
		return nil
	}
	cost := elementCost
	for _, v := range values {
		cost += valueCost + len(v)
	}
	if len(c.open) == 0 {
		c.identify(h.tag, values)
		c.pixels.attribute(h.tag, values)
	}
	c.keep(Element{Tag: h.tag, VR: h.vr, Values: values}, cost)
	return nil
}

func (c *collector) setCharset(cs *charset) {
	if len(c.open) == 0 {
		c.cs = cs
		return
	}
	c.open[len(c.open)-1].cs = cs
}

func (c *collector) identify(tag Tag, values []string) {
	if len(values) == 0 {
		return
	}
	var uid *string
	switch tag {
	case tagSOPClassUID:
		uid = &c.res.SOPClassUID
	case tagSOPInstanceUID:
		uid = &c.res.SOPInstanceUID
	case tagStudyInstanceUID:
		uid = &c.res.StudyInstanceUID
	case tagSeriesInstanceUID:
		uid = &c.res.SeriesInstanceUID
	default:
		return
	}
	*uid = strings.Join(values, `\`) // one that is several is none
}

// keep adds e where it belongs, if it fits.
func (c *collector) keep(e Element, cost int) {
	top := len(c.open) == 0
	// Of those that identify there are few, and none may be missed.
	if c.dropping || (!top || !identifying(e.Tag)) && !c.charge(cost, top && indexedGroup(e.Tag)) {
		return
	}
	if top {
		c.res.DataSet = append(c.res.DataSet, e)
		return
	}
	in := &c.open[len(c.open)-1]
	in.item = append(in.item, e)
}

// charge counts what is about to be kept. When it does not fit, the top-level
// sequence around it is dropped; a quarter of the whole is reserved.
func (c *collector) charge(cost int, reserved bool) bool {
	most := c.limits.MaxKept
	if !reserved {
		most -= most / 4
	}
	if c.kept+cost > most {
		c.res.Overflow = true
		c.drop()
		return false
	}
	c.kept += cost
	return true
}

// indexedGroup tells the groups that identify and describe patient, study,
// series and instance.
func indexedGroup(t Tag) bool {
	switch t.Group() {
	case 0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0032, 0x0040:
		return true
	}
	return false
}

// drop forgets the top-level sequence that is open.
func (c *collector) drop() {
	if len(c.open) == 0 {
		return
	}
	c.dropping = true
	c.kept = c.before
	for i := range c.open {
		c.open[i].items, c.open[i].item = nil, nil
	}
}

func (c *collector) openSequence(h *header) error {
	if len(c.open) == 0 {
		if err := c.identity.admit(h, c.limits.MaxIdentity); err != nil {
			return err
		}
		c.before = c.kept
	}
	c.open = append(c.open, openSequence{tag: h.tag, cs: c.charset()})
	return nil
}

func (c *collector) openItem() error {
	in := &c.open[len(c.open)-1]
	in.count++
	in.item = nil
	in.cs = c.cs
	if n := len(c.open); n > 1 {
		in.cs = c.open[n-2].cs
	}
	return nil
}

func (c *collector) closeItem() error {
	const itemCost = 24
	if c.dropping {
		return nil
	}
	if !c.charge(itemCost, false) {
		return nil
	}
	in := &c.open[len(c.open)-1]
	in.items = append(in.items, ordered(in.item))
	return nil
}

func (c *collector) closeSequence() error {
	last := c.open[len(c.open)-1]
	c.open = c.open[:len(c.open)-1]
	if len(c.open) == 0 && c.dropping {
		c.dropping = false
		return nil
	}
	c.keep(Element{Tag: last.tag, VR: "SQ", Items: last.items}, elementCost)
	return nil
}

func (c *collector) openFragments(h *header) error {
	if len(c.open) == 0 {
		if err := c.identity.admit(h, c.limits.MaxIdentity); err != nil {
			return err
		}
	}
	if len(c.open) == 0 && h.tag == tagPixelData {
		c.pixels.begin(h.offset, c.limits.KeptFragments)
	}
	c.encapsulated = c.bulk(h)
	return nil
}

func (c *collector) fragment(h *header) int { return c.pixels.fragment(h) }

func (c *collector) closeFragments(end int64) error {
	c.pixels.end()
	if !c.ranges {
		return nil
	}
	b := c.encapsulated
	b.Range.Length = end - b.Range.Offset
	c.list(b)
	return nil
}

// bulk keeps an element without its value.
func (c *collector) bulk(h *header) *Bulk {
	b := &Bulk{Path: c.path(h.tag), VR: h.vr}
	if c.ranges {
		b.Range = storage.Range{Offset: h.offset, Length: h.length}
		if h.length != undefined {
			c.list(b)
		}
		if len(c.open) == 0 {
			c.pixels.native(h)
		}
	}
	c.keep(Element{Tag: h.tag, VR: h.vr, Bulk: b}, elementCost+bulkCost)
	return b
}

func (c *collector) list(b *Bulk) {
	if len(c.res.Layout.Bulk) < c.limits.MaxBulk {
		c.res.Layout.Bulk = append(c.res.Layout.Bulk, *b)
	}
}

// path is Bulk.Path of an element that is met now.
func (c *collector) path(tag Tag) string {
	var b []byte
	for i := range c.open {
		b = appendStep(b, c.open[i].tag, c.open[i].count-1)
	}
	return string(tag.append(b))
}

// appendStep appends one level of Bulk.Path.
func appendStep(dst []byte, sequence Tag, item int) []byte {
	dst = append(sequence.append(dst), '.')
	return append(strconv.AppendInt(dst, int64(item), 10), '.')
}

// result is called once, after the last event.
func (c *collector) result() *Result {
	c.res.DataSet = ordered(c.res.DataSet)
	slices.SortFunc(c.res.Layout.Bulk, func(a, b Bulk) int { return strings.Compare(a.Path, b.Path) })
	c.res.Layout.Frames = c.pixels.frames()
	return &c.res
}

// ordered is ds in ascending order of tags; of several elements with one tag
// the first stays (PS3.5 §7.1 allows one).
func ordered(ds DataSet) DataSet {
	rising := true
	for i := 1; i < len(ds) && rising; i++ {
		rising = ds[i-1].Tag < ds[i].Tag
	}
	if rising {
		return ds
	}
	slices.SortStableFunc(ds, func(a, b Element) int {
		switch {
		case a.Tag < b.Tag:
			return -1
		case a.Tag > b.Tag:
			return 1
		}
		return 0
	})
	return slices.CompactFunc(ds, func(a, b Element) bool { return a.Tag == b.Tag })
}
