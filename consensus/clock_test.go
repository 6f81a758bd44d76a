package consensus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// A clock is believed when more than half of the nodes go with it.
func TestAgreed(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	at := func(id string, skew time.Duration) Status { return Status{ID: id, Now: now.Add(skew)} }
	silent := func(id string) Status { return Status{ID: id, State: "unreachable"} }
	for name, c := range map[string]struct {
		all []Status
		why string
	}{
		"alone":                    {[]Status{at("n1", 0)}, ""},
		"all agree":                {[]Status{at("n1", 0), at("n2", time.Second), at("n3", -time.Minute)}, ""},
		"another jumped":           {[]Status{at("n1", 0), at("n2", time.Hour), at("n3", 0)}, ""},
		"this one jumped":          {[]Status{at("n1", 0), at("n2", -time.Hour), at("n3", -time.Hour)}, "that of n2 is -1h0m0s ahead; that of n3"},
		"one is away":              {[]Status{at("n1", 0), silent("n2"), at("n3", 0)}, ""},
		"one is away, one jumped":  {[]Status{at("n1", 0), silent("n2"), at("n3", time.Hour)}, "n2 does not answer; that of n3 is 1h0m0s ahead"},
		"all others are away":      {[]Status{at("n1", 0), silent("n2"), silent("n3")}, "n3 does not answer"},
		"two of four do not agree": {[]Status{at("n1", 0), at("n2", 0), at("n3", time.Hour), at("n4", time.Hour)}, "n4"},
	} {
		t.Run(name, func(t *testing.T) {
			err := agreed("n1", c.all, now)
			if (err == nil) != (c.why == "") || err != nil && (!errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), c.why)) {
				t.Errorf("%v, want %q", err, c.why)
			}
		})
	}
}
