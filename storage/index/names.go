package index

import (
	"context"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// studyNames are the names by which a study is found: all values of PatientName and
// ReferringPhysicianName.
type studyNames struct{ patient, referring string }

func namesOf(ds dicom.DataSet) studyNames {
	return studyNames{whole(ds, tagPatientName), whole(ds, tagReferringPhysicianName)}
}

// keys are those of all names, each once.
func (n studyNames) keys() []string {
	return append(nameKeys(n.patient), referringKeys(n.referring)...)
}

// flushNames keeps the keys of a study's names, which stand with its date.
func (c *change) flushNames(ctx context.Context, s *study) error {
	names := namesOf(s.attributes)
	if names == s.stored.names && s.date == s.stored.date {
		return nil
	}
	if err := c.dropNames(ctx, s); err != nil {
		return err
	}
	for _, key := range names.keys() {
		if _, err := c.putName.ExecContext(ctx, key, s.date, s.id); err != nil {
			return err
		}
		if err := c.learnWord(ctx, key); err != nil {
			return err
		}
	}
	s.stored.names = names
	return nil
}

// dropNames removes the keys of a study's names as they are stored.
func (c *change) dropNames(ctx context.Context, s *study) error {
	for _, key := range s.stored.names.keys() {
		if _, err := c.dropName.ExecContext(ctx, key, s.stored.date, s.id); err != nil {
			return err
		}
		if err := c.forgetWord(ctx, key); err != nil {
			return err
		}
	}
	s.stored.names = studyNames{}
	return nil
}

// Bounds of the rows that the names of a study take.
const (
	maxNameKeys      = 24
	maxReferringKeys = 4
	maxKey           = 512 // bytes
)

// moreNames is the key of a study whose PatientName has more keys, or longer
// ones, than are kept; no group has a '='. Whatever is asked of names, its
// studies are looked at too.
const moreNames = "="

// nameKeys are the folded texts by which a name is found: its component
// groups, the family name of each, and each word that begins no group.
func nameKeys(pn string) []string {
	var keys, words []string
	more := false
	add := func(key string) {
		switch {
		case slices.Contains(keys, key):
		case len(keys) == maxNameKeys, len(key) > maxKey:
			more = true
		default:
			keys = append(keys, key)
		}
	}
	for value := range strings.SplitSeq(pn, `\`) {
		folded := fold(strings.Trim(value, " \x00"))
		words = append(words, nameWords(folded)...)
		for _, group := range nameGroups(folded) {
			if group != "" {
				family, _, _ := strings.Cut(group, "^")
				add(group)
				add(familyKey(family))
			}
		}
	}
	for _, word := range words {
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, word) }) {
			add(word)
		}
	}
	if more {
		keys = append(keys, moreNames)
	}
	return keys
}

// referringKey is the key for a ReferringPhysicianName.
func referringKey(folded string) string { return "=r" + folded }

// moreReferring is moreNames for referring physicians, and for one whose name
// folds to nothing; no name folds so.
const moreReferring = "=r="

// referringKeys are the folded names of referring physicians: they are few,
// and compared whole.
func referringKeys(pn string) []string {
	var keys []string
	for value := range strings.SplitSeq(pn, `\`) {
		value = strings.Trim(value, " \x00")
		key := referringKey(fold(value))
		if value == "" || slices.Contains(keys, key) {
			continue
		}
		if len(keys) == maxReferringKeys || len(key) > maxKey || key == referringKey("") {
			return append(keys, moreReferring)
		}
		keys = append(keys, key)
	}
	return keys
}

// familyKey is the key for a family name, or for what it begins with: these
// keys lie apart from nearly all others, so that there are few to look through.
func familyKey(family string) string { return "^" + family }
