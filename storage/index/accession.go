package index

import (
	"strings"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// several begins the column of a study with more than one AccessionNumber, as
// of several orders. There are few, and all are looked at.
const several = `\`

// columnAccession is what the column of AccessionNumber has.
func columnAccession(ds dicom.DataSet) string {
	if e := find(ds, tagAccessionNumber); e != nil && len(e.Values) > 1 {
		return several + strings.Join(e.Values, `\`)
	}
	return value(ds, tagAccessionNumber)
}

// accession narrows by AccessionNumber.
func (n *narrow) accession(want matcher) {
	if values := texts(want); values != nil {
		n.andAccession("o.accession IN (SELECT value FROM json_each(?))", jsonList(values))
		n.selective, n.few = true, true
		return
	}
	n.begin("s.accession <> '' AND s.accession", want)
}

// andAccession leaves the studies o that the condition lets through, and those
// of several.
func (n *narrow) andAccession(condition string, args ...any) {
	n.and("s.id IN (SELECT o.id FROM study o WHERE o.accession <> '' AND "+condition+
		" UNION ALL SELECT o.id FROM study o WHERE o.accession <> '' AND o.accession >= ? AND o.accession < ?)",
		append(args, several, several+beyond)...)
}
