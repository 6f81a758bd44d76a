package ops

import (
	"embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

//go:embed words
var catalogues embed.FS

// Languages are those in which the page speaks; the first is for everybody who
// asks for none of them.
func Languages() []string { return []string{"en", "fr", "de"} }

// words are the texts of one language, by key.
type words struct {
	Language string
	texts    map[string]string
}

// loadWords reads the catalogues.
func loadWords() (map[string]*words, error) {
	all := map[string]*words{}
	for _, l := range Languages() {
		b, err := catalogues.ReadFile("words/" + l + ".json")
		if err != nil {
			return nil, err
		}
		w := &words{Language: l, texts: map[string]string{}}
		if err := json.Unmarshal(b, &w.texts); err != nil {
			return nil, fmt.Errorf("words in %s: %w", l, err)
		}
		all[l] = w
	}
	return all, nil
}

// choose is the language of the request: that which is asked for, or the best
// of Accept-Language.
func choose(asked, accepted string) string {
	all := Languages()
	for _, l := range all {
		if l == asked {
			return l
		}
	}
	tags := make([]language.Tag, len(all))
	for i, l := range all {
		tags[i] = language.Make(l)
	}
	wanted, _, err := language.ParseAcceptLanguage(accepted)
	if err != nil {
		return all[0]
	}
	_, at, _ := language.NewMatcher(tags).Match(wanted...)
	return all[at]
}

// T is the text of a key, with {name} replaced by the value after name. An
// unknown key is its own text.
func (w *words) T(key string, values ...any) string {
	text, ok := w.texts[key]
	if !ok {
		return key
	}
	for i := 0; i+1 < len(values); i += 2 {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%v}", values[i]), fmt.Sprint(values[i+1]))
	}
	return text
}

// fill is T with named values, of which n is a count.
func (w *words) fill(key string, values map[string]string) string {
	text := w.T(key)
	for name, v := range values {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && name == "n" {
			v = w.Number(n)
		}
		text = strings.ReplaceAll(text, "{"+name+"}", v)
	}
	return text
}

// Has tells whether there is a text.
func (w *words) Has(key string) bool {
	_, ok := w.texts[key]
	return ok
}

// Number writes a count with its thousands parted.
func (w *words) Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var out strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			out.WriteString(w.T("format.thousands"))
		}
		out.WriteRune(c)
	}
	return out.String()
}

// Bytes writes a size in three digits.
func (w *words) Bytes(n int64) string {
	v, unit := float64(n), 0
	units := strings.Fields(w.T("format.bytes"))
	for v >= 999.5 && unit < len(units)-1 {
		v, unit = v/1000, unit+1
	}
	decimals := 0
	if unit > 0 && v < 9.95 {
		decimals = 1
	}
	text := strings.Replace(strconv.FormatFloat(v, 'f', decimals, 64), ".", w.T("format.decimal"), 1)
	return text + "\u00a0" + units[unit]
}

// Rate writes bytes per second.
func (w *words) Rate(n int64) string {
	if n < 0 {
		return "–"
	}
	return w.Bytes(n) + "/s"
}

// Span writes how long something takes or took, in one unit.
func (w *words) Span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		key  string
		unit time.Duration
		from time.Duration
	}{{"format.year", 365 * day, 2 * 365 * day}, {"format.day", day, 2 * day}, {"format.hour", time.Hour, 2 * time.Hour}, {"format.minute", time.Minute, 2 * time.Minute}} {
		if d >= u.from {
			return w.T(u.key, "n", w.Number(int64(d/u.unit)))
		}
	}
	return w.T("format.second", "n", int64(max(d, 0)/time.Second))
}

func number[N int | int64](n N) string { return strconv.FormatInt(int64(n), 10) }
