package index

// RenewFilterAfter makes the filter of live names anew after so many.
func (x *Index) RenewFilterAfter(names int) {
	x.filterMost = names
	x.live.Load().most = names
}

// Remembers tells whether Has is answered from memory.
func (x *Index) Remembers(in Instance) bool {
	_, ok := x.fromMemory(&in)
	return ok
}
