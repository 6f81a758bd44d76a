package index

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of walking by names.
const (
	// mostArms is how many keys are walked beside each other. The studies of
	// more are gathered by days.
	mostArms = 16
	// mostNames is how many keys are walked at all. Those of more are so many
	// studies that walking all of them comes to as much.
	mostNames = 4096
	// mostLookups is how many questions a search asks; a key may have hundreds
	// of words.
	mostLookups = 16
	// mostBeside is how many of their answers a study is held against in SQL,
	// those with the fewest keys: the statement has them once for each key that
	// is walked, and the Matcher decides all the same.
	mostBeside = 4
)

// lookup is a question to the table of names: which of its keys are those of
// answers? One of its fields is set.
type lookup struct {
	key string // this one
	// from and below bound the keys, in the table itself.
	from, below string
	// parts are what a word has in it, one of them; with a line feed before it
	// with which it begins.
	parts []string
	// referring is what a referring physician's name must be.
	referring matcher
}

func (n *narrow) ask(l lookup) { n.lookups = append(n.lookups, l) }

func (n *narrow) name(want matcher) {
	switch w := want.(type) {
	case name:
		for _, g := range w.groups {
			if g != nil {
				n.group(g)
			}
		}
	case words:
		for _, word := range w {
			n.word(word)
		}
	}
}

// word asks for one word of a name.
func (n *narrow) word(w *wildcard) {
	if w.openLeft {
		n.inside(w)
		return
	}
	if with := w.prefix(); with != "" {
		// A word that begins a group is found by its family name.
		n.ask(lookup{parts: []string{"\n" + with, "\n" + familyKey(with)}})
	}
}

func (n *narrow) group(want matcher) {
	switch w := want.(type) {
	case text:
		if w != "" { // an empty group has no key
			n.ask(lookup{key: string(w)})
		}
	case openGroup:
		if w.bare != text("") { // an empty group has no key
			n.wild(w.wildcard)
		}
	case *wildcard:
		n.wild(w)
	}
}

// wild asks for what begins as w does, or for the words in it. A '^' at the end
// of what it begins with may be missing.
func (n *narrow) wild(w *wildcard) {
	family, rest, whole := strings.Cut(w.prefix(), "^")
	rest = strings.TrimRight(rest, "^")
	switch {
	case rest != "" && utf8.ValidString(w.prefix()):
		n.ask(lookup{from: family + "^" + rest, below: w.prefix() + beyond})
	case whole:
		n.ask(lookup{key: familyKey(family)})
	case family != "":
		n.ask(lookup{parts: []string{"\n" + familyKey(family)}})
	default:
		n.inside(w)
	}
}

// inside asks for the words, or parts of some, that names must have in them.
func (n *narrow) inside(w *wildcard) {
	for _, p := range w.parts {
		for t := range strings.SplitSeq(p.text, "?") {
			for _, word := range nameWords(t) {
				n.ask(lookup{parts: []string{word}})
			}
		}
	}
}

// settlePlan answers the lookups, and so decides what is walked: the studies of
// the fewest keys, of one modality, or all.
func (x *Index) settlePlan(ctx context.Context, n *narrow) error {
	if n.settled {
		return nil
	}
	n.settled = true
	if err := x.settleBegins(ctx, n); err != nil {
		return err
	}
	var sets [][]string
	for _, l := range n.lookups[:min(len(n.lookups), mostLookups)] {
		if n.few && l.key == "" {
			continue
		}
		keys, ok, err := x.lookUp(ctx, l)
		if err != nil {
			return err
		}
		if ok {
			sets = append(sets, keys)
		}
	}
	slices.SortStableFunc(sets, func(a, b []string) int { return cmp.Compare(len(a), len(b)) })
	for i, keys := range sets[:min(len(sets), mostBeside)] {
		switch {
		case len(keys) == 0:
			n.and("0")
			n.selective = true
		case i == 0 && !n.selective:
			n.names = keys
		case len(keys) <= mostArms:
			n.and("EXISTS (SELECT 1 FROM name p WHERE p.folded IN (SELECT value FROM json_each(?)) AND p.date = s.date AND p.study = s.id)", jsonList(keys))
		case i == 0 && !n.few:
			n.and("s.id IN (SELECT p.study FROM name p WHERE p.folded IN (SELECT value FROM json_each(?)))", jsonList(keys))
		}
	}
	n.settleModalities()
	return nil
}

func (n *narrow) settleModalities() {
	switch {
	case len(n.modalities) == 0:
	case !n.selective && len(n.names) == 0 && len(n.modalities) == 1:
		n.modality = n.modalities[0]
	default:
		n.and("EXISTS (SELECT 1 FROM modality o WHERE o.value IN (SELECT value FROM json_each(?)) AND o.date = s.date AND o.study = s.id)",
			jsonList(n.modalities))
	}
}

// lookUp returns the keys that a lookup asks for, unless they are too many.
func (x *Index) lookUp(ctx context.Context, l lookup) (keys []string, ok bool, err error) {
	switch {
	case l.key != "":
		keys, ok = []string{l.key}, utf8.ValidString(l.key)
	case l.from != "":
		keys, ok, err = x.keysBetween(ctx, l.from, l.below)
	default:
		return x.lookThrough(ctx, l)
	}
	if err != nil || !ok {
		return nil, false, err
	}
	// Of a name with too many keys this one may not be kept.
	err = each(ctx, x.read, `SELECT 1 FROM name WHERE folded = ? LIMIT 1`, []any{moreNames}, func(*sql.Rows) error {
		keys = append(keys, moreNames)
		return nil
	})
	return keys, ok, err
}

// lookThrough is lookUp for what is looked for among words.
func (x *Index) lookThrough(ctx context.Context, l lookup) (keys []string, ok bool, err error) {
	most := cmp.Or(x.namesMost, mostNames)
	p, err := x.read.now()
	if err != nil {
		return nil, false, err
	}
	said, err := p.words.now(ctx, readsIn{x.read, p})
	if err != nil || said.full {
		return nil, false, err
	}
	if l.referring != nil {
		keys, ok = having(said.referring, "\n", most, l.referring.match)
		for i, key := range keys {
			keys[i] = referringKey(key)
		}
		if said.many {
			keys = append(keys, moreReferring)
		}
		return keys, ok, nil
	}
	for _, part := range l.parts {
		of, all := having(said.names, part, most, nil)
		if !all || len(keys)+len(of) > most {
			return nil, false, nil
		}
		keys = append(keys, of...)
	}
	if said.long {
		keys = append(keys, moreNames)
	}
	return keys, true, nil
}

// keysBetween looks for the keys from one up to another in the table of names,
// each once.
func (x *Index) keysBetween(ctx context.Context, from, below string) (keys []string, ok bool, err error) {
	err = each(ctx, x.read, `WITH RECURSIVE f(key) AS (SELECT min(folded) FROM name WHERE folded >= ?1 AND folded < ?2
		UNION ALL SELECT (SELECT min(o.folded) FROM name o WHERE o.folded > f.key AND o.folded < ?2) FROM f WHERE f.key IS NOT NULL)
		SELECT key FROM f WHERE key IS NOT NULL LIMIT ?3`, []any{from, below, mostNames + 1}, func(rows *sql.Rows) error {
		var key string
		err := rows.Scan(&key)
		keys = append(keys, key)
		return err
	})
	return keys, len(keys) <= mostNames, err
}

// byNames walks the studies of each name, as many as are wanted in all.
func (n *narrow) byNames(l Level, after cursor, limit, skip int) (string, []any) {
	w := walk{id: "s.id AS id, k.date AS date, s.uid AS study, '' AS series", date: "k.date",
		from: "name k CROSS JOIN study s ON s.id = k.study", and: " AND k.folded = ?"}
	if l > Study {
		w.id = "e.id AS id, k.date AS date, s.uid AS study, e.uid AS series"
	}
	var arms []string
	var all []any
	for _, key := range n.names {
		w.args = []any{key}
		sql, args := n.walked(w, l, after)
		arms = append(arms, "SELECT * FROM ("+sql+limited+")")
		all = append(append(all, args...), limit+skip)
	}
	return "SELECT id FROM (" + strings.Join(arms, " UNION ") + ") ORDER BY date DESC, study, series" + limited + " OFFSET ?", append(all, limit, skip)
}

// chunkByDays gathers the next candidates of many names: those of the newest
// day, then of as many days before it as are likely to have what is missing.
// So what a page takes does not grow with the studies that match.
func (x *Index) chunkByDays(ctx context.Context, n *narrow, l Level, after cursor, limit int) (out []found, err error) {
	below := beyond
	if n.to != "" {
		below = n.to + "\x00"
	}
	if after.set {
		below = min(below, after.date+"\x00")
	}
	keys := jsonList(n.names)
	for days := 1; len(out) < limit; {
		last, ok, err := x.newestBelow(ctx, below)
		if err != nil || !ok || last < n.from {
			return out, err
		}
		first := max(daysBefore(last, days-1), n.from)
		inner, args := n.inDays(keys, l, after, first, last, limit-len(out))
		part, err := x.rows(ctx, l, inner, args, limit-len(out))
		if err != nil {
			return out, err
		}
		if out, below = append(out, part...), first; first == "" {
			return out, nil
		}
		days = moreDays(days, len(part), limit-len(out))
	}
	return out, nil
}

// inDays is the SQL of the candidates of some days.
func (n *narrow) inDays(keys string, l Level, after cursor, first, last string, limit int) (string, []any) {
	w := walk{id: "DISTINCT s.id AS id, k.date, s.uid", date: "k.date", from: "name k CROSS JOIN study s ON s.id = k.study",
		and:  " AND k.folded IN (SELECT value FROM json_each(?)) AND k.date >= ? AND k.date <= ?",
		args: []any{keys, first, last}}
	if l > Study {
		w.id = "DISTINCT e.id AS id, k.date, s.uid, e.uid"
	}
	sql, args := n.walked(w, l, after)
	return "SELECT id FROM (" + sql + limited + ")", append(args, limit)
}

// newestBelow is the last StudyDate before a text, "" being the first.
func (x *Index) newestBelow(ctx context.Context, below string) (date string, ok bool, err error) {
	err = each(ctx, x.read, `SELECT date FROM study WHERE date < ? ORDER BY date DESC LIMIT 1`, []any{below}, func(rows *sql.Rows) error {
		ok = true
		return rows.Scan(&date)
	})
	return date, ok, err
}

const columnLayout = "20060102"

// daysBefore is the date so many days before another; before all dates is "".
func daysBefore(date string, days int) string {
	t, err := time.Parse(columnLayout, date)
	if err != nil {
		return ""
	}
	if t = t.AddDate(0, 0, -days); t.Year() < 0 {
		return ""
	}
	return t.Format(columnLayout)
}

// moreDays is how many days to look at next, when some had so many candidates
// and more are missing: a few too many rather than too few, and never many
// times as many as before.
func moreDays(days, had, missing int) int {
	const most, ever = 16, 1 << 22
	wanted := days * most
	if had > 0 {
		wanted = min(wanted, days*missing/had*5/4)
	}
	return min(max(wanted, days), ever)
}
