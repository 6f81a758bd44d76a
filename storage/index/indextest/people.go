package indextest

import (
	"fmt"
	"math/rand/v2"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// newPatient is somebody of the region, or a visitor to it.
func newPatient(rng *rand.Rand) dicom.DataSet {
	sex := rng.IntN(2)
	family := families()[rng.IntN(len(families()))]
	given := givens(sex)[rng.IntN(len(givens(sex)))]
	name := family + "^" + given
	if rng.IntN(4) == 0 {
		name += "^" + givens(sex)[rng.IntN(len(givens(sex)))]
	}
	if rng.IntN(12) == 0 {
		name = visitors()[rng.IntN(len(visitors()))]
	}
	return dicom.DataSet{
		text(0x00100010, "PN", name),
		text(0x00100020, "LO", fmt.Sprintf("%07d", rng.IntN(400_000))),
		text(0x00100021, "LO", []string{"HUS", "GHR", ""}[rng.IntN(3)]),
		text(0x00100030, "DA", fmt.Sprintf("%04d%02d%02d", 1925+rng.IntN(98), 1+rng.IntN(12), 1+rng.IntN(28))),
		text(0x00100040, "CS", []string{"M", "F"}[sex]),
	}
}

func families() []string {
	return []string{
		"MULLER", "Müller", "MÜLLER", "Mueller", "Schmitt", "SCHNEIDER", "Meyer", "WEBER", "Klein", "Kieffer", "Haas", "Sœur",
		"Zimmermann", "Kuntz", "Schött", "Oberlé", "Ehrismann", "Hügel", "Straub", "Wäldele", "Bœglin", "Strauß", "d'Argent", "Zumsteeg",
		"Lefèvre", "Benoît", "François", "Dupont", "DUPONT-MARTIN", "Pérez", "Nuñez", "Yılmaz", "Öztürk", "Nguyễn", "Kowalski", "Łukasz",
		"Ben Ali", "El Amrani", "Σιδέρης", "Иванова", "100%_SURE",
	}
}

func givens(sex int) []string {
	if sex == 0 {
		return []string{"Jürgen", "JEAN", "Jean-Pierre", "René", "François", "Mathieu", "Étienne", "Noël", "Hans", "Théo", "Loïc", "Mehmet"}
	}
	return []string{"Hélène", "MARIE", "Marie-Odile", "Zoé", "Anaïs", "Odile", "Salomé", "Grétel", "Ünal", "Chloé", "Inès", "Liselotte"}
}

// visitors have names in three component groups (PS3.5 Annexes H and I).
func visitors() []string {
	return []string{
		"Yamada^Tarou=山田^太郎=やまだ^たろう",
		"YAMADA^HANAKO=山田^花子=ヤマダ^ハナコ",
		"Hong^Gildong=洪^吉洞=홍^길동",
		"Kim^Minji=金^敏智=김^민지",
		"Wang^XiaoDong=王^小东=",
	}
}

func doctors() []string {
	return []string{"Schweitzer^Albert^^Dr", "Koeberlé^Eugène^^Pr", "Noël^Suzanne^^Dr", "Weiss^Louise^^Dr", ""}
}

type site struct{ name, prefix string }

func sites() []site {
	return []site{
		{"Hôpital de Hautepierre", "HTP"}, {"Clinique Sainte-Odile", "CSO"}, {"CH de Haguenau", "HAG"},
		{"Maison de santé de Munster", "MUN"}, {"GHR Mulhouse Sud-Alsace", "MUL"}, {"Hôpitaux civils de Colmar", "COL"},
	}
}

type kind struct{ modality, class, description, bodyPart, manufacturer string }

func kinds() []kind {
	return []kind{
		{"CT", "1.2.840.10008.5.1.4.1.1.2", "TDM thorax", "CHEST", "SIEMENS"},
		{"CT", "1.2.840.10008.5.1.4.1.1.2", "TDM abdomen", "ABDOMEN", "GE MEDICAL SYSTEMS"},
		{"MR", "1.2.840.10008.5.1.4.1.1.4", "IRM cérébrale", "HEAD", "Philips"},
		{"DX", "1.2.840.10008.5.1.4.1.1.1.1", "Thorax de face", "CHEST", "AGFA"},
		{"CR", "1.2.840.10008.5.1.4.1.1.1", "Radio du genou", "KNEE", "FUJI"},
		{"US", "1.2.840.10008.5.1.4.1.1.6.1", "Écho abdominale", "ABDOMEN", "Canon"},
		{"MG", "1.2.840.10008.5.1.4.1.1.1.2", "Mammographie", "BREAST", "HOLOGIC"},
		{"SR", "1.2.840.10008.5.1.4.1.1.88.33", "Compte rendu", "", "CIGOGNE TEST"},
	}
}
