package gateway_test

import (
	"net/netip"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

func TestSites(t *testing.T) {
	site := func(name string, titles []string, networks ...string) gateway.Site {
		s := gateway.Site{SenderInfo: storage.SenderInfo{Name: name, Issuer: storage.Issuer{Name: name}}, CallingAETitles: titles}
		for _, n := range networks {
			s.Networks = append(s.Networks, netip.MustParsePrefix(n))
		}
		return s
	}
	sites, err := gateway.NewSites([]gateway.Site{
		site("A", []string{"PACS_*", "CT1", "US/1"}, "192.0.2.0/24"), site("B", []string{"PACS_B*", "?T1"}, "192.0.2.128/25", "2001:db8::/32"),
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ae, addr, want string }{
		{"PACS_1", "", "A"}, {"PACS_1/2", "", "A"}, {"US/1", "", "A"}, {"/T1", "", "B"}, {"US1", "", ""}, {"PACS_B7", "", "B"}, {"CT1", "", "A"}, {"MT1", "", "B"}, {" CT1 ", "", "A"}, {"CT12", "", ""},
		{"", "192.0.2.7:104", "A"}, {"", "192.0.2.200:104", "B"}, {"", "[2001:db8::1]:104", "B"}, {"", "[::ffff:192.0.2.7]:104", "A"},
		{"MT1", "192.0.2.7:104", "B"}, {"", "198.51.100.1:1", ""}, {"", "", ""}, {"", "nonsense", ""},
	} {
		if got, ok := sites.Of(c.ae, "", c.addr); got.Info().Name != c.want || ok != (c.want != "") {
			t.Errorf("%q from %q is of %q, want %q", c.ae, c.addr, got.Info().Name, c.want)
		}
	}
}
