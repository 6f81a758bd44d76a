package sites

import "testing"

// TestSites: each is known by what the file says of it, and one without an
// issuer of its own by its FINESS number.
func TestSites(t *testing.T) {
	found, err := Parse([]byte(`sites:
  - {name: A, finess: "670000025", calling-ae: [P], addresses: {P: "h:104"}, networks: [192.0.2.7/24]}
  - {name: B, issuer: {name: X, oid: 1.2.250.1.999.1}, override-issuer: true}
`), true)
	if err != nil {
		t.Fatal(err)
	}
	all := found.List()
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	a, b := all[0], all[1]
	if a.Name != "A" || a.Issuer.Name != "670000025" || a.IssuerStands || a.Addresses["P"] != "h:104" || a.Networks[0].String() != "192.0.2.0/24" {
		t.Errorf("%+v", a)
	}
	if b.Name != "B" || b.Issuer.Name != "X" || b.Issuer.UniversalID != "1.2.250.1.999.1" || b.Issuer.UniversalIDType != "ISO" || !b.IssuerStands {
		t.Errorf("%+v", b)
	}
	if none, err := Parse(nil, false); err != nil || len(none.List()) != 0 {
		t.Errorf("no file: %v, %v", none, err)
	}
}

func TestRefusedFiles(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown key":          "sites: [{name: A, issuer: {name: A}, aes: [X]}]",
		"no issuer":               "sites: [{name: A}]",
		"one issuer twice":        "sites: [{name: A, issuer: {name: X}}, {name: B, issuer: {name: X}}]",
		"an address of nobody":    "sites: [{name: A, issuer: {name: X}, calling-ae: [P], addresses: {Q: 'h:104'}}]",
		"an address without port": "sites: [{name: A, issuer: {name: X}, calling-ae: [P], addresses: {P: h}}]",
		"another's address":       "sites: [{name: A, issuer: {name: X}, calling-ae: [P]}, {name: B, issuer: {name: Y}, addresses: {P: 'h:104'}}]",
		"one AE title twice":      "sites: [{name: A, issuer: {name: X}, calling-ae: [P]}, {name: B, issuer: {name: Y}, calling-ae: [P]}]",
		"an OID that is none":     "sites: [{name: A, issuer: {oid: X}}]",
		"a network that is not":   "sites: [{name: A, issuer: {name: X}, networks: [10.0.0.0]}]",
		"an assumed issuer":       "sites: [{name: A, issuer: {name: 'unknown:A'}}]",
		"a token in the clear":    "sites: [{name: A, issuer: {name: X}, tokens-sha256: [secret]}]",
	} {
		if _, err := Parse([]byte(text), false); err == nil {
			t.Errorf("%s is taken: %s", name, text)
		}
	}
}
