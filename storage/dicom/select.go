package dicom

import (
	"iter"
	"slices"
	"sort"
)

// Get finds the element with the tag in a Data Set in ascending order.
func (ds DataSet) Get(tag Tag) (Element, bool) {
	i := sort.Search(len(ds), func(i int) bool { return ds[i].Tag >= tag })
	if i == len(ds) || ds[i].Tag != tag {
		return Element{}, false
	}
	return ds[i], true
}

// String is the first value of the element with the tag, "" when there is no
// such element or it is empty.
func (ds DataSet) String(tag Tag) string {
	e, _ := ds.Get(tag)
	if len(e.Values) == 0 {
		return ""
	}
	return e.Values[0]
}

// Select returns the elements that have one of the tags, in ascending order.
// They share their values with ds.
func (ds DataSet) Select(tags []Tag) DataSet {
	if !slices.IsSorted(tags) {
		tags = slices.Clone(tags)
		slices.Sort(tags)
	}
	n := 0
	for range ds.having(tags) {
		n++
	}
	selected := make(DataSet, 0, n)
	for e := range ds.having(tags) {
		selected = append(selected, *e)
	}
	return selected
}

// having yields the elements that have one of the tags, which are in ascending
// order as ds is.
func (ds DataSet) having(tags []Tag) iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for i := range ds {
			for len(tags) > 0 && tags[0] < ds[i].Tag {
				tags = tags[1:]
			}
			if len(tags) == 0 {
				return
			}
			if tags[0] == ds[i].Tag {
				if !yield(&ds[i]) {
					return
				}
				tags = tags[1:]
			}
		}
	}
}

// Without returns the elements that have none of the tags, in ascending order.
// They share their values with ds, or are ds when it has none of them.
func (ds DataSet) Without(tags ...Tag) DataSet {
	has := func(e Element) bool { return slices.Contains(tags, e.Tag) }
	if !slices.ContainsFunc(ds, has) {
		return slices.Clip(ds)
	}
	out := make(DataSet, 0, len(ds))
	for _, e := range ds {
		if !has(e) {
			out = append(out, e)
		}
	}
	return out
}

// With returns ds with the elements laid over it: each stands in place of the
// one with its tag. ds is in ascending order, over need not be.
func (ds DataSet) With(over ...Element) DataSet {
	if len(over) == 0 {
		return ds
	}
	out := append(make(DataSet, 0, len(ds)+len(over)), ds...)
	for _, e := range over {
		i := sort.Search(len(out), func(i int) bool { return out[i].Tag >= e.Tag })
		if i < len(out) && out[i].Tag == e.Tag {
			out[i] = e
		} else {
			out = slices.Insert(out, i, e)
		}
	}
	return out
}
