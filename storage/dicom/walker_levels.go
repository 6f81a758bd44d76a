package dicom

import "math"

// settle closes the levels of defined length that end here.
func (w *walker) settle() error {
	if w.gather || w.skip > 0 || w.held > 0 {
		return nil
	}
	for w.top().end == w.off {
		if err := w.closeLevel(w.off); err != nil {
			return err
		}
	}
	return nil
}

// closeLevel closes the innermost level, whose last byte is before end.
func (w *walker) closeLevel(end int64) error {
	kind := w.top().kind
	w.stack = w.stack[:len(w.stack)-1]
	switch kind {
	case ofItems:
		w.depth--
		return w.visit.closeSequence()
	case ofFragments:
		return w.visit.closeFragments(end)
	}
	return w.visit.closeItem()
}

// enter goes on behind the header h.
func (w *walker) enter(h *header) error {
	lv := w.top()
	if h.length != undefined && h.length > lv.limit-h.offset {
		return w.fail(h.tag, h.offset, "its length of %d bytes reaches beyond the item or sequence that holds it", h.length)
	}
	switch lv.kind {
	case ofItems:
		return w.enterItem(h)
	case ofFragments:
		return w.enterFragment(h)
	}
	return w.enterElement(h)
}

func (w *walker) enterItem(h *header) error {
	switch {
	case h.tag == tagItem:
		if err := w.count(h); err != nil {
			return err
		}
		w.push(ofElements, h, *w.top())
		return w.visit.openItem()
	case h.tag == tagSequenceDelimitation && w.top().end == undefined:
		return w.delimit(h)
	}
	return w.fail(h.tag, h.offset, "an item of sequence %s was expected", w.top().tag)
}

func (w *walker) enterFragment(h *header) error {
	switch {
	case h.tag == tagSequenceDelimitation:
		return w.delimit(h)
	case h.tag != tagItem:
		return w.fail(h.tag, h.offset, "a fragment of %s was expected", w.top().tag)
	case h.length == undefined:
		return w.fail(h.tag, h.offset, "a fragment of undefined length")
	}
	if w.fragments++; w.fragments > w.limits.MaxFragments {
		return w.fail(h.tag, h.offset, "more than %d fragments", w.limits.MaxFragments)
	}
	w.take(h, w.visit.fragment(h))
	return w.takeEmpty()
}

func (w *walker) enterElement(h *header) error {
	lv := w.top()
	if h.tag>>16 == 0xFFFE {
		if h.tag == tagItemDelimitation && len(w.stack) > 1 && lv.end == undefined {
			return w.delimit(h)
		}
		return w.fail(h.tag, h.offset, "a delimiter where an element was expected")
	}
	if err := w.count(h); err != nil {
		return err
	}
	if h.vr == "" {
		return w.fail(h.tag, h.offset, "there is no VR where one was expected")
	}
	if h.vr == "SQ" {
		return w.openSequence(h, *lv)
	}
	if h.length != undefined {
		w.resolveUN(h, lv)
		w.take(h, w.visit.element(h))
		return w.takeEmpty()
	}
	switch {
	case h.tag == tagPixelData, h.vr == "OB", h.vr == "OW":
		w.push(ofFragments, h, *lv)
		return w.visit.openFragments(h)
	case h.vr == "UN":
		// Inside is Implicit VR Little Endian, whatever is around it (PS3.5
		// §6.2.2 note 4).
		h.vr = "SQ"
		return w.openSequence(h, level{implicit: true, limit: lv.limit})
	}
	return w.fail(h.tag, h.offset, "undefined length with VR %s", h.vr)
}

// resolveUN gives a standard attribute that was written as UN its VR back
// (PS3.5 §6.2.2 note 2), its value being in Little Endian. A sequence is left
// as it is: whoever wrote UN may not have known that it was one.
func (w *walker) resolveUN(h *header, lv *level) {
	if h.vr != "UN" || lv.implicit || h.tag.Private() {
		return
	}
	if vr := h.tag.vr(w.signed); vr != "SQ" {
		h.vr = vr
	}
	h.bigEndian = false
}

func (w *walker) openSequence(h *header, syntax level) error {
	if w.depth++; w.depth > w.limits.MaxDepth {
		return w.fail(h.tag, h.offset, "sequences nested more than %d deep", w.limits.MaxDepth)
	}
	w.push(ofItems, h, syntax)
	return w.visit.openSequence(h)
}

// push opens a level that begins behind h; syntax tells its encoding and its
// limit.
func (w *walker) push(kind levelKind, h *header, syntax level) {
	lv := level{
		kind: kind, tag: h.tag, implicit: syntax.implicit, bigEndian: syntax.bigEndian,
		end: undefined, limit: syntax.limit,
	}
	if h.length != undefined {
		lv.end = h.offset + h.length
		lv.limit = lv.end
	}
	if kind == ofElements {
		lv.tag = syntax.tag
	}
	w.stack = append(w.stack, lv)
}

// delimit closes the innermost level because its delimiter is h.
func (w *walker) delimit(h *header) error {
	if h.length != 0 {
		return w.fail(h.tag, h.offset, "a delimiter of length %d", h.length)
	}
	return w.closeLevel(h.offset - 8)
}

func (w *walker) count(h *header) error {
	if w.elements++; w.elements > w.limits.MaxElements {
		return w.fail(h.tag, h.offset, "more than %d elements", w.limits.MaxElements)
	}
	return nil
}

// take prepares for the value of h, of which the visitor wants n bytes.
func (w *walker) take(h *header, n int) {
	w.cur = *h
	w.skip = h.length
	if w.gather = n >= 0; w.gather {
		w.want = int(min(int64(n), h.length, math.MaxInt32))
		w.skip -= int64(w.want)
	}
}

// takeEmpty delivers a value of which no bytes have to come.
func (w *walker) takeEmpty() error {
	if !w.gather || w.want > 0 {
		return nil
	}
	w.gather = false
	return w.deliver(nil)
}
