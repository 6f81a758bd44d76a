package s3

import "testing"

// TestPartLength: whatever the size of an object, its parts are within the
// protocol's bounds: at most 10,000 of them, each of 5 MiB to 5 GiB but the
// last.
func TestPartLength(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct{ size, configured, want int64 }{
		{0, 16 * mib, 16 * mib},
		{1, 5 * mib, 5 * mib},
		{5*gib + 1, 16 * mib, 16 * mib},
		{mostParts * 16 * mib, 16 * mib, 16 * mib},
		{mostParts*16*mib + 1, 16 * mib, 17 * mib},
		{mostParts*5*mib + 1, 5 * mib, 6 * mib},
		{1 << 40, 16 * mib, 105 * mib},
		{largest, 16 * mib, 525 * mib},
		{largest, 5 * gib, 5 * gib},
	} {
		a := &Archive{o: Options{WritePart: c.configured}}
		part := a.partLength(c.size)
		if part != c.want {
			t.Errorf("%d bytes, parts of %d: %d, want %d", c.size, c.configured, part, c.want)
		}
		if n := (c.size + part - 1) / part; n > mostParts || part < leastPart || part > 5*gib {
			t.Errorf("%d bytes in %d parts of %d", c.size, n, part)
		}
	}
}
