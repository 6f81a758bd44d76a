package ins_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		matricule, oid string
		realm          ins.Realm
		ok             bool
	}{
		{"279035121518989", ins.NIR, ins.Production, true},
		{"162018885045327", ins.NIA, ins.Production, true},
		{"2 74 07 51 760 794 30", ins.NIR, ins.Production, true},
		{"180122A12345602", ins.NIR, ins.Production, true},
		{"180122b12345629", ins.NIR, ins.Production, true},
		{"180122A12345629", ins.NIR, ins.Production, false},
		{"279035121518988", ins.NIR, ins.Production, false},
		{"27903512151898", ins.NIR, ins.Production, false},
		{"2790351215189890", ins.NIR, ins.Production, false},
		{"279035121518989", ins.Test, ins.Production, false},
		{"279035121518989", ins.Demo, ins.Production, false},
		{"279035121518989", ins.Test, ins.Trial, true},
		{"279035121518989", ins.Demo, ins.Trial, true},
		{"279035121518989", ins.NIR, ins.Trial, false},
		{"279035121518989", ins.NIA, ins.Trial, false},
		{"279035121518989", "1.2.250.1.213.1.4", ins.Production, false},
		{"2790351A1518989", ins.NIR, ins.Production, false},
		{"079035121518989", ins.NIR, ins.Production, false},
		{"", ins.NIR, ins.Production, false},
		{strings.Repeat("1", 1<<16), ins.NIR, ins.Production, false},
	} {
		n, err := ins.Parse(c.matricule, c.oid, c.realm)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%.40q %s in realm %d: %+v, %v", c.matricule, c.oid, c.realm, n, err)
		}
		if err != nil && len(c.matricule) == 15 && strings.Contains(err.Error(), c.matricule) {
			t.Errorf("the error repeats the matricule: %v", err)
		}
	}
}

// TestKeyTellsAWrongDigit: any one digit that is another makes the key wrong.
func TestKeyTellsAWrongDigit(t *testing.T) {
	const good = "279035121518989"
	for i := range len(good) {
		for c := byte('0'); c <= '9'; c++ {
			if c != good[i] && ins.Check(good[:i]+string(c)+good[i+1:]) == nil {
				t.Errorf("%c in place %d passes", c, i+1)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"279035121518989", "180122A12345602", "180122B12345629", "2 74 07 51 760 794 30", "é", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ins.Parse(s, ins.NIR, ins.Production)
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		key, err := ins.Key(n.Matricule[:13])
		if err != nil || fmt.Sprintf("%02d", key) != n.Matricule[13:] || key < 1 || key > 97 {
			t.Fatalf("%q: %d, %v", n.Matricule, key, err)
		}
		if again, err := ins.Parse(n.Matricule, n.OID, ins.Production); err != nil || again != n {
			t.Fatalf("%+v becomes %+v, %v", n, again, err)
		}
	})
}

// TestKnown: the name of the authority does not tell the realm.
func TestKnown(t *testing.T) {
	for issuer, want := range map[string]int{ins.NIR: 1, ins.Demo: 1, "ASIP-SANTE-INS-NIR": 3, "ASIP-SANTE-INS-NIA": 3, "HUS": 0, "": 0} {
		if got := ins.Known(issuer); len(got) != want {
			t.Errorf("%q: %v", issuer, got)
		}
	}
	if is := (ins.Number{OID: ins.Test}).Issuer(); is.Name != "ASIP-SANTE-INS-NIR" || is.UniversalID != ins.Test {
		t.Errorf("%+v", is)
	}
}

func odile() ins.Traits {
	return ins.Traits{BirthName: "MÜLLER-SCHMITT", GivenNames: "ODILE MARIE", BirthDate: "19790312", Sex: "F", BirthPlace: "67482"}
}

func TestTraits(t *testing.T) {
	if err := odile().Validate(); err != nil {
		t.Fatal(err)
	}
	for trait, spoil := range map[string]func(*ins.Traits){
		"birth name":  func(t *ins.Traits) { t.BirthName = "--" },
		"given names": func(t *ins.Traits) { t.GivenNames = "" },
		"birth date":  func(t *ins.Traits) { t.BirthDate = "19791312" },
		"sex":         func(t *ins.Traits) { t.Sex = "X" },
		"birth place": func(t *ins.Traits) { t.BirthPlace = "6A482" + "0" },
	} {
		bad := odile()
		spoil(&bad)
		if err := bad.Validate(); !errors.Is(err, storage.ErrInvalid) || !strings.Contains(err.Error(), trait) {
			t.Errorf("%s: %v", trait, err)
		}
	}
	corsican, lunar := odile(), odile()
	corsican.BirthPlace, lunar.BirthDate = "2A004", "19790000"
	if err := errors.Join(corsican.Validate(), lunar.Validate()); err != nil {
		t.Error(err)
	}
}

func TestDiffer(t *testing.T) {
	same := odile()
	same.BirthName, same.GivenNames = "Muller Schmitt", "Odile, Marie"
	if d := odile().Differ(same); d != nil {
		t.Errorf("the same: %v", d)
	}
	other := ins.Traits{BirthName: "MÜLLER", GivenNames: "MARIE ODILE", BirthDate: "19790313", Sex: "M", BirthPlace: "67000"}
	if d := odile().Differ(other); !slices.Equal(d, []string{"birth name", "given names", "birth date", "sex", "birth place"}) {
		t.Errorf("all differ: %v", d)
	}
}

func TestAgainstADataSet(t *testing.T) {
	for _, c := range []struct {
		shown ins.Shown
		want  []string
	}{
		{ins.Shown{}, nil},
		{ins.Shown{PatientName: "Müller-Schmitt^Odile", BirthDate: "19790312", Sex: "F"}, nil},
		{ins.Shown{PatientName: "DUPONT^ODILE"}, nil}, // a married name
		{ins.Shown{PatientName: "SCHMITT"}, nil},
		{ins.Shown{PatientName: "DUPONT^JEANNE"}, []string{"name"}},
		{ins.Shown{BirthDate: "19790000"}, nil},
		{ins.Shown{BirthDate: "1979"}, nil}, // no DA
		{ins.Shown{BirthDate: "19790313", Sex: "O"}, []string{"birth date"}},
		{ins.Shown{Sex: "M"}, []string{"sex"}},
	} {
		if got := odile().Against(c.shown); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.shown, got, c.want)
		}
	}
}

func FuzzTraits(f *testing.F) {
	f.Add("MÜLLER", "ODILE", "19790312", "F", "67482", "Muller^Odile")
	f.Add("ﬀ=\x00", "́", "00000000", "", "2A", "=^\\")
	f.Fuzz(func(t *testing.T, name, given, date, sex, place, shown string) {
		a := ins.Traits{BirthName: name, GivenNames: given, BirthDate: date, Sex: sex, BirthPlace: place}
		if err := a.Validate(); err != nil {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if d := a.Differ(a); d != nil {
			t.Fatalf("differs from itself: %v", d)
		}
		a.Against(ins.Shown{PatientName: shown, BirthDate: shown, Sex: shown})
		if d := a.Against(ins.Shown{PatientName: name + "^" + given, BirthDate: date, Sex: sex}); d != nil {
			t.Fatalf("%+v is against itself: %v", a, d)
		}
	})
}
