package indextest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage/index"
)

// Multiply makes an index at to, where none is, that holds the studies of the
// one at from, which nobody has open, so many times: those numbered from 0 up to studies of a
// population, archived, and then the same under the numbers that follow.
// Patients, names and dates are as often as in a population of that size, but
// each study has its likes. It takes a tenth of what applying would.
func Multiply(ctx context.Context, from, to string, p Population, studies, times int) error {
	x, err := index.Open(ctx, index.Options{Path: to})
	if err != nil {
		return err
	}
	if err := x.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: to}).EscapedPath()+
		"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-1000000)&_pragma=locking_mode(EXCLUSIVE)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `ATTACH ? AS origin`, "file:"+(&url.URL{Path: from}).EscapedPath()+"?immutable=1"); err != nil {
		return err
	}
	indexes, err := dropIndexes(ctx, db)
	if err != nil {
		return err
	}
	for _, t := range multiplied(p) {
		if err := t.copy(ctx, db, studies, times); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for _, create := range indexes {
		if _, err := db.ExecContext(ctx, create); err != nil {
			return fmt.Errorf("%s: %w", create, err)
		}
	}
	return db.Close()
}

// dropIndexes drops those that can be made again, all at once, by what it
// returns.
func dropIndexes(ctx context.Context, db *sql.DB) (create []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name, sql FROM main.sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		names, create = append(names, name), append(create, text)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := db.ExecContext(ctx, `DROP INDEX main.`+name); err != nil {
			return nil, err
		}
	}
	return create, nil
}

// table is how the rows of a table are multiplied: columns that get other
// values in the copy number j.value, by SQL in which %d is the number of
// studies. Those of a sorted one are read in the order of its key.
type table struct {
	name    string
	columns map[string]string
	once    bool // it is copied once
	sorted  bool
}

func multiplied(p Population) []table {
	prefix := fmt.Sprintf("1.2.826.0.1.3680043.10.1.%d.", p.Seed)
	// A UID with the number of its study moved.
	moved := func(column string) string {
		number := fmt.Sprintf("substr(o.%s, %d)", column, len(prefix)+1)
		return fmt.Sprintf("'%s' || (CAST(%s AS INTEGER) + j.value * %%[1]d) || ltrim(%s, '0123456789')", prefix, number, number)
	}
	study := "o.study + j.value * %[1]d"
	next := func(column, of string) string {
		return "o." + column + " + j.value * (SELECT max(id) FROM origin." + of + ")"
	}
	return []table{
		{name: "word", once: true},
		{name: "study", columns: map[string]string{"id": "o.id + j.value * %[1]d", "uid": moved("uid")}},
		{name: "name", columns: map[string]string{"study": study}, sorted: true},
		{name: "modality", columns: map[string]string{"study": study}, sorted: true},
		{name: "series", columns: map[string]string{"id": next("id", "series"), "study": study, "uid": moved("uid")}},
		{name: "pack", columns: map[string]string{
			"id": next("id", "pack"), "name": "replace(" + moved("series") + ", '.', '')", "study": moved("study"), "series": moved("series"),
		}},
		{name: "copy", columns: map[string]string{"pack": next("pack", "pack")}},
		{name: "history", columns: map[string]string{"study": moved("study"), "series": moved("series")}},
		{name: "life", columns: map[string]string{"study": moved("study")}},
	}
}

func (t table) copy(ctx context.Context, db *sql.DB, studies, times int) error {
	rows, err := db.QueryContext(ctx, `SELECT name FROM pragma_table_info(?)`, t.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			return err
		}
		value := "o." + column
		if v := t.columns[column]; v != "" {
			value = strings.ReplaceAll(v, "%[1]d", strconv.Itoa(studies))
		}
		values = append(values, value)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if t.once {
		times = 1
	}
	copies := fmt.Sprintf("(WITH RECURSIVE n(value) AS (VALUES (0) UNION ALL SELECT value + 1 FROM n WHERE value + 1 < %d) SELECT value FROM n) j", times)
	source := copies + " CROSS JOIN origin." + t.name + " o"
	if t.sorted {
		source = "origin." + t.name + " o CROSS JOIN " + copies
	}
	_, err = db.ExecContext(ctx, "INSERT INTO main."+t.name+" SELECT "+strings.Join(values, ", ")+" FROM "+source)
	return err
}
