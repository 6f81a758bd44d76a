package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// flags are those of a program, with defaults.
type flags struct {
	Config   string
	AETitle  string
	HTTP     string
	DIMSE    string `name:"dimse" default:"127.0.0.1:11112"`
	CalledAE []string
	Settle   time.Duration
	Open     bool
	Most     int
}

// parsed are the flags as the arguments, the environment and a file say.
func parsed(t *testing.T, args, environ []string, yaml string) (f flags, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--config", path)
	from, err := Load(args, environ)
	if err != nil {
		return f, err
	}
	parser, err := kong.New(&f, kong.Resolvers(from))
	if err != nil {
		return f, err
	}
	_, err = parser.Parse(args)
	return f, err
}

// TestPrecedence: the command line is stronger than the environment, and that
// is stronger than the file.
func TestPrecedence(t *testing.T) {
	f, err := parsed(t, []string{"--ae-title", "FLAG"}, []string{"CIGOGNE_AE_TITLE=ENV", "CIGOGNE_HTTP=127.0.0.1:2", "PATH=/bin"},
		"ae-title: FILE\nhttp: 127.0.0.1:1\nsettle: 5s\nopen: true\ncalled-ae: [A, B]\nmost: 7\n")
	if err != nil {
		t.Fatal(err)
	}
	if f.AETitle != "FLAG" || f.HTTP != "127.0.0.1:2" || f.Settle != 5*time.Second || !f.Open || f.Most != 7 ||
		strings.Join(f.CalledAE, " ") != "A B" || f.DIMSE != "127.0.0.1:11112" {
		t.Errorf("%+v", f)
	}
}

// TestLists come from either source, and what is no list takes none.
func TestLists(t *testing.T) {
	f, err := parsed(t, nil, []string{"CIGOGNE_CALLED_AE=A, B"}, "")
	if err != nil || strings.Join(f.CalledAE, "|") != "A|B" {
		t.Errorf("of the environment: %q, %v", f.CalledAE, err)
	}
	f, err = parsed(t, nil, nil, "called-ae: A\n")
	if err != nil || strings.Join(f.CalledAE, "|") != "A" {
		t.Errorf("of one: %q, %v", f.CalledAE, err)
	}
	for yaml, want := range map[string]string{"http: [a, b]": "http takes one value", "http: {a: b}": "http takes no keys of its own"} {
		if _, err = parsed(t, nil, nil, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", yaml, err)
		}
	}
}
