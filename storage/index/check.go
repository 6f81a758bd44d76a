package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"github.com/esante-alsace/cigogne/storage"
)

// Check reads the whole index and yields what is wrong with it in plain words:
// nothing when it is sound. An error ends it.
func (x *Index) Check(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		on := true
		say := func(problem string) error {
			if on = on && yield(problem, nil); !on {
				return errEnough
			}
			return nil
		}
		for _, check := range []func(context.Context, func(string) error) error{x.checkFile, x.checkRows, x.checkMembers} {
			if err := check(ctx, say); err != nil {
				if on {
					yield("", err)
				}
				return
			}
		}
	}
}

// errEnough ends a check whose reader has gone.
var errEnough = errors.New("enough")

func (x *Index) checkFile(ctx context.Context, say func(string) error) error {
	return each(ctx, x.read, `PRAGMA integrity_check(100)`, nil, func(rows *sql.Rows) error {
		var s string
		if err := rows.Scan(&s); err != nil || s == "ok" {
			return err
		}
		return say("the database is damaged: " + s)
	})
}

// checkRows holds tables against each other: every query yields what breaks
// the rule.
func (x *Index) checkRows(ctx context.Context, say func(string) error) error {
	for _, rule := range []struct{ words, query string }{
		{"study %s does not count its series right",
			`SELECT s.uid FROM study s WHERE s.series <> (SELECT count(*) FROM series e WHERE e.study = s.id)`},
		{"study %s does not count its instances right",
			`SELECT s.uid FROM study s WHERE s.instances <> (SELECT coalesce(sum(e.instances), 0) FROM series e WHERE e.study = s.id)`},
		{"study %s does not count its manifests right",
			`SELECT s.uid FROM study s WHERE s.manifests <> (SELECT coalesce(sum(e.manifests), 0) FROM series e WHERE e.study = s.id)`},
		{"series %s counts more manifests than instances", `SELECT uid FROM series WHERE manifests > instances`},
		{"study %s has no instances", `SELECT uid FROM study WHERE instances < 1`},
		{"series %s belongs to no study", `SELECT e.uid FROM series e WHERE NOT EXISTS (SELECT 1 FROM study s WHERE s.id = e.study)`},
		{"instance %s belongs to no series", `SELECT i.sop FROM instance i WHERE NOT EXISTS (SELECT 1 FROM series e WHERE e.id = i.series)`},
		{"series %s does not count right what is to be packed",
			`SELECT e.uid FROM series e LEFT JOIN (SELECT series, count(*) AS n, sum(size) AS b FROM instance WHERE pack IS NULL GROUP BY series) l
			 ON l.series = e.id WHERE e.unplanned <> coalesce(l.n, 0) OR e.bytes <> coalesce(l.b, 0)`},
		{"instance %s is in a plan that does not exist or is archived",
			`SELECT i.sop FROM instance i WHERE i.pack IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pack p WHERE p.id = i.pack AND p.plan IS NOT NULL AND p.conflict = 0)`},
		{"conflict %s is in a plan or pack that does not exist",
			`SELECT c.sop FROM conflict c WHERE c.pack IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pack p WHERE p.id = c.pack)`},
		{"conflict %s lies neither in a journal nor in a pack", `SELECT sop FROM conflict WHERE live = 0 AND pack IS NULL`},
		{"instance %s is kept aside as well", `SELECT i.sop FROM instance i JOIN conflict c ON c.sop = i.sop AND c.digest = i.digest`},
		{"planned pack %s does not hold the rows it should",
			`SELECT p.name FROM pack p WHERE p.plan IS NOT NULL AND p.instances <> (SELECT count(*) FROM instance i WHERE i.pack = p.id)
			 + (SELECT count(*) FROM conflict c WHERE c.pack = p.id)`},
		{"pack %s is archived, but has no copy",
			`SELECT p.name FROM pack p WHERE p.plan IS NULL AND NOT EXISTS (SELECT 1 FROM copy k WHERE k.pack = p.id)`},
		{"deletion %s has rows, but is not marked",
			`SELECT d.name FROM deletion d WHERE d.state <> 1 AND (EXISTS (SELECT 1 FROM deleted_study s WHERE s.deletion = d.id)
			 OR EXISTS (SELECT 1 FROM deleted_series e WHERE e.deletion = d.id) OR EXISTS (SELECT 1 FROM deleted_instance i WHERE i.deletion = d.id)
			 OR d.state > 2 AND EXISTS (SELECT 1 FROM deleted_pack p WHERE p.deletion = d.id))`},
		{"deletion %s is to remove nothing", `SELECT d.name FROM deletion d WHERE d.state = 2 AND NOT EXISTS (SELECT 1 FROM deleted_pack p WHERE p.deletion = d.id)`},
		{"deleted pack %s is in use", `SELECT o.name FROM deleted_pack o JOIN pack p ON p.name = o.name
			WHERE length(p.members) > 0 AND p.conflict = 0`},
		{"study %s is not found under each of its modalities",
			`SELECT s.uid FROM study s WHERE s.modalities <> '' AND EXISTS (
			 SELECT 1 FROM json_each('[' || replace(json_quote(s.modalities), '\\', '","') || ']') j
			 WHERE NOT EXISTS (SELECT 1 FROM modality m WHERE m.value = j.value AND m.date = s.date AND m.study = s.id))`},
		{"study %s has a name of which not all words are known",
			`SELECT DISTINCT s.uid FROM name k JOIN study s ON s.id = k.study WHERE (instr(substr(CAST(k.folded AS BLOB), 2), x'5E') = 0 OR k.folded >= '=' AND k.folded < '>')
			 AND NOT EXISTS (SELECT 1 FROM word w WHERE w.folded = k.folded)`},
		{"word %s is that of no study", `SELECT w.id FROM word w WHERE NOT EXISTS (SELECT 1 FROM name k WHERE k.folded = w.folded)`},
	} {
		err := each(ctx, x.read, rule.query, nil, func(rows *sql.Rows) error {
			var what string
			if err := rows.Scan(&what); err != nil {
				return err
			}
			return say(fmt.Sprintf(rule.words, what))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkMembers counts the instances of each series in its rows and packs.
func (x *Index) checkMembers(ctx context.Context, say func(string) error) error {
	const query = `SELECT s.uid, e.uid, e.id, e.instances, p.name, p.members
		FROM study s JOIN series e ON e.study = s.id
		LEFT JOIN pack p ON p.study = s.uid AND p.series = e.uid AND p.conflict = 0 AND p.plan IS NULL
		ORDER BY s.id, e.id`
	at := &counting{}
	err := each(ctx, x.read, query, nil, func(rows *sql.Rows) error {
		next := counting{members: map[[memberBytes]byte]bool{}}
		var study, uid string
		var pack sql.NullString
		var m []byte
		if err := rows.Scan(&study, &uid, &next.id, &next.instances, &pack, &m); err != nil {
			return err
		}
		if next.series = study + "/" + uid; next.series != at.series {
			if err := x.checkCount(ctx, at, say); err != nil {
				return err
			}
			at = &next
		}
		if !Members(m).sorted() {
			return say(fmt.Sprintf("pack %s does not list its members in order", pack.String))
		}
		for i := range Members(m).Len() {
			at.members[[memberBytes]byte(Members(m).at(i))] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.checkCount(ctx, at, say)
}

// counting is a series whose packs are being gone through.
type counting struct {
	series        string // "" before the first
	id, instances int64
	members       map[[memberBytes]byte]bool
}

// checkCount compares what a series says to hold with what there is.
func (x *Index) checkCount(ctx context.Context, s *counting, say func(string) error) error {
	if s.series == "" {
		return nil
	}
	live, err := x.liveOutside(ctx, s.id, s.members)
	if err != nil {
		return err
	}
	if n := live + int64(len(s.members)); s.instances != n {
		return say(fmt.Sprintf("series %s counts %d instances, but has %d", s.series, s.instances, n))
	}
	return nil
}

// liveOutside counts the rows of a series that no archived pack has already:
// one that is planned can lie in an adopted pack too.
func (x *Index) liveOutside(ctx context.Context, id int64, members map[[memberBytes]byte]bool) (n int64, err error) {
	err = each(ctx, x.read, `SELECT sop, digest FROM instance WHERE series = ?`, []any{id}, func(rows *sql.Rows) error {
		var sop string
		var b []byte
		if err := rows.Scan(&sop, &b); err != nil {
			return err
		}
		var d storage.Digest
		copy(d[:], b)
		if !members[member(sop, d)] {
			n++
		}
		return nil
	})
	return n, err
}
