package index

import (
	"bytes"
	"context"
	"database/sql"
	"strings"
	"sync"
)

// mostWordsKnown bounds what who writes remembers of the table of words.
const mostWordsKnown = 1 << 15

// isWord tells the keys of names that are in the table of words: all but the
// component groups of several components, of which there are nearly as many as
// patients. Whatever stands in one of those stands in a family name or word.
func isWord(key string) bool {
	return strings.HasPrefix(key, "=") || !strings.Contains(key[1:], "^")
}

// learnWord enters a key into the table of words, if it is one and is not there.
func (c *change) learnWord(ctx context.Context, key string) error {
	if _, ok := c.words[key]; ok || !isWord(key) {
		return nil
	}
	if _, err := c.putWord.ExecContext(ctx, key); err != nil {
		return err
	}
	if len(c.words) >= mostWordsKnown {
		clear(c.words)
	}
	c.words[key] = struct{}{}
	return nil
}

// forgetWord removes a key from the table of words that no study has any more.
func (c *change) forgetWord(ctx context.Context, key string) error {
	if !isWord(key) {
		return nil
	}
	delete(c.words, key)
	_, err := c.dropWord.ExecContext(ctx, key)
	return err
}

// mostVocabulary bounds, in bytes, the words that are held in memory. What is
// asked of an index that has more is looked for without them.
const mostVocabulary = 16 << 20

// vocabulary is the table of words in memory: to look through all of them for
// a few letters takes microseconds there. It is brought up to date by whoever
// needs it. Words that were removed meanwhile stay: no study is found by them.
type vocabulary struct {
	mu   sync.Mutex
	last int64 // word that it has
	said said
}

// said are the words, each between line feeds, which no folded text has.
type said struct {
	names, referring []byte
	full             bool // there are more
	// long and many tell that there are names, and referring physicians, that
	// have more keys than are kept.
	long, many bool
}

func newVocabulary() *vocabulary {
	return &vocabulary{said: said{names: []byte("\n"), referring: []byte("\n")}}
}

// now is the vocabulary as of now. What it returns is not written to.
func (v *vocabulary) now(ctx context.Context, q querier) (said, error) {
	for {
		v.mu.Lock()
		before, words := v.last, v.said
		v.mu.Unlock()
		if words.full {
			return words, nil
		}
		last := before
		var fresh []string
		err := each(ctx, q, `SELECT id, folded FROM word WHERE id > ? ORDER BY id LIMIT 100000`, []any{before}, func(rows *sql.Rows) error {
			var key string
			err := rows.Scan(&last, &key)
			fresh = append(fresh, key)
			return err
		})
		if err != nil || len(fresh) == 0 {
			return words, err
		}
		v.mu.Lock()
		if v.last == before { // nobody was faster
			v.last = last
			for _, key := range fresh {
				v.said.add(key)
			}
		}
		v.mu.Unlock()
	}
}

// add appends: who reads what was there before does not see it.
func (s *said) add(key string) {
	doctor, referring := strings.CutPrefix(key, referringKey(""))
	switch {
	case key == moreNames:
		s.long = true
	case key == moreReferring:
		s.many = true
	case referring:
		s.referring = append(append(s.referring, doctor...), '\n')
	default:
		s.names = append(append(s.names, key...), '\n')
	}
	s.full = len(s.names)+len(s.referring) > mostVocabulary
}

// having are the words of text that have a part in them; with a line feed
// before it one with which they begin. keep, when not nil, chooses among them.
// Nothing is returned for more than most.
func having(text []byte, part string, most int, keep func(word string) bool) (words []string, ok bool) {
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(part))
		if i < 0 {
			return words, true
		}
		i += at
		from := i + 1
		if part[0] != '\n' {
			from = bytes.LastIndexByte(text[:i], '\n') + 1
		}
		at = from + bytes.IndexByte(text[from:], '\n')
		if word := string(text[from:at]); word != "" && (keep == nil || keep(word)) {
			if len(words) == most {
				return nil, false
			}
			words = append(words, word)
		}
		if at == len(text)-1 {
			return words, true
		}
	}
}
