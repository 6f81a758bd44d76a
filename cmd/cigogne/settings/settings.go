// Package settings takes what the command line leaves out from the environment
// and from a configuration file.
package settings

import (
	"fmt"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

const envPrefix = "CIGOGNE_"

// Settings resolves flags that the command line leaves out: from the
// environment first, then from the configuration file. It refuses what it
// does not know, because a mistyped limit that is silently ignored is found
// on the worst day.
type Settings struct {
	env  map[string]string // by flag name
	file *koanf.Koanf
	path string
}

// Load reads the file that --config or the environment names, if one does.
func Load(args, environ []string) (*Settings, error) {
	s := &Settings{env: map[string]string{}, file: koanf.New("\x00")}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if key, ok := strings.CutPrefix(name, envPrefix); ok && !reservedVariable(name) {
			s.env[strings.ReplaceAll(strings.ToLower(key), "_", "-")] = value
		}
	}
	s.path = s.env["config"]
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			s.path = v
		} else if a == "--config" && i+1 < len(args) {
			s.path = args[i+1]
		}
	}
	if s.path == "" {
		return s, nil
	}
	if err := s.file.Load(file.Provider(s.path), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("--config %s: %w", s.path, err)
	}
	return s, nil
}

// reservedVariable names the variables that are not settings: where tests
// find real DICOM files.
func reservedVariable(name string) bool { return name == "CIGOGNE_DICOM_DIR" }

// Validate implements kong.Resolver.
func (s *Settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	collectFlags(app.Node, known)
	for _, key := range s.fileKeys() {
		if !known[key] {
			return fmt.Errorf("--config %s: unknown key %q", s.path, key)
		}
	}
	names := make([]string, 0, len(s.env))
	for name := range s.env {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if !known[name] {
			return fmt.Errorf("unknown environment variable %s", variable(name))
		}
	}
	return nil
}

func (s *Settings) fileKeys() []string {
	keys := s.file.Keys()
	sort.Strings(keys)
	return keys
}

func collectFlags(n *kong.Node, into map[string]bool) {
	for _, f := range n.Flags {
		into[f.Name] = f.Name != "help"
	}
	for _, child := range n.Children {
		collectFlags(child, into)
	}
}

func variable(flag string) string {
	return envPrefix + strings.ReplaceAll(strings.ToUpper(flag), "-", "_")
}

// Resolve implements kong.Resolver.
func (s *Settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if v, ok := s.env[flag.Name]; ok {
		if flag.IsSlice() {
			return splitList(v), nil
		}
		return v, nil
	}
	switch v := s.file.Get(flag.Name).(type) {
	case nil:
		return nil, nil
	case []any:
		if !flag.IsSlice() {
			return nil, fmt.Errorf("--config %s: %s takes one value", s.path, flag.Name)
		}
		return v, nil
	case map[string]any:
		return nil, fmt.Errorf("--config %s: %s takes no keys of its own", s.path, flag.Name)
	case bool:
		return v, nil
	default:
		if flag.IsSlice() {
			return []any{fmt.Sprint(v)}, nil
		}
		return fmt.Sprint(v), nil
	}
}

func splitList(v string) []any {
	var list []any
	for item := range strings.SplitSeq(v, ",") {
		list = append(list, strings.TrimSpace(item))
	}
	return list
}
