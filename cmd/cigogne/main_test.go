package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUsage: what is wrong with how the program was called is one line and
// exit code 2, whichever way it came in.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  []string
		file string
		want string
	}{
		{name: "unknown flag", args: []string{"serve", "--nonsense"}, want: "--nonsense"},
		{name: "unknown command", args: []string{"dance"}, want: "dance"},
		{name: "a folder of no name", args: []string{"push", ""}, want: "an empty path"},
		{name: "a target of no name", args: []string{"pull", "--study", "1.2", "-o", ""}, want: "an empty path"},
		{name: "no study", args: []string{"pull", "--study", "", "-o", "x"}, want: "--study"},
		{name: "a study that is none", args: []string{"pull", "--study", "../x", "-o", "x"}, want: "--study"},
		{name: "no command", want: "expected"},
		{name: "bad duration", args: []string{"serve", "--settle", "soon"}, want: "settle"},
		{name: "negative settle", args: []string{"serve", "--settle=-1s"}, want: "--settle -1s"},
		{name: "complete at once", args: []string{"serve", "--complete-after", "0s"}, want: "--complete-after"},
		{name: "a commitment that is never late", args: []string{"serve", "--commitment-wait", "0s"}, want: "--commitment-wait"},
		{name: "unknown after it has failed", args: []string{"serve", "--commitment-wait", "1h", "--commitment-settle", "2h"}, want: "--commitment-settle"},
		{name: "a root that is none", args: []string{"serve", "--manifest-url", "images.example"}, want: "--manifest-url"},
		{name: "a record without TLS", args: []string{"serve", "--dmp-endpoint", "http://dmp.example/fhir"}, want: "--dmp-endpoint"},
		{name: "a certificate without its key", args: []string{"serve", "--dmp-endpoint", "https://dmp.example/fhir", "--dmp-cert", "x"}, want: "--dmp-key"},
		{name: "no codes", args: []string{"serve", "--dmp-endpoint", "https://dmp.example/fhir", "--dmp-codes", "/dev/null"}, want: "--dmp-codes"},
		{name: "bad level", args: []string{"serve", "--log-level", "loud"}, want: "loud"},
		{name: "bad address", args: []string{"serve", "--dimse", "nowhere"}, want: "--dimse"},
		{name: "long AE title", args: []string{"serve", "--ae-title", "SEVENTEEN_LETTERS"}, want: "--ae-title"},
		{name: "no keyword", args: []string{"find", "PatientNmae=Mul*"}, want: "PatientNmae"},
		{name: "a port that is none", args: []string{"serve", "--dimse", "127.0.0.1:99999", "--data-dir", t.TempDir()}, want: "--dimse"},
		{name: "no file of sites", args: []string{"serve", "--sites", "/nonexistent/sites.yaml", "--data-dir", t.TempDir()}, want: "--sites"},
		{name: "a file of sites that is none", args: []string{"serve", "--sites", "main_test.go", "--data-dir", t.TempDir()}, want: "--sites"},
		{name: "no certificate", args: []string{"cluster", "status", "--peer-certs", "/nonexistent"}, want: "cigogne certs"},
		{name: "no node to drain", args: []string{"cluster", "drain", "", "--peer-certs", "/nonexistent"}, want: "the id of a node"},
		{name: "bad archive", args: []string{"serve", "--archive", "ftp://x/y"}, want: "dir:///path"},
		{name: "beyond loopback", args: []string{"serve", "--http", "0.0.0.0:8080"}, want: "--open"},
		{name: "beyond loopback without a host", args: []string{"serve", "--dimse", ":11112"}, want: "--open"},
		{name: "bad size", args: []string{"serve", "--max-data-set", "much"}, want: "64MiB"},
		{name: "unknown variable", args: []string{"serve"}, env: []string{"CIGOGNE_AETITLE=X"}, want: "CIGOGNE_AETITLE"},
		{name: "bad value of a variable", args: []string{"serve"}, env: []string{"CIGOGNE_SETTLE=soon"}, want: "soon"},
		{name: "unknown key", args: []string{"serve"}, file: "ae-titel: X\n", want: `unknown key "ae-titel"`},
		{name: "bad value of a key", args: []string{"serve"}, file: "settle: soon\n", want: "soon"},
		{name: "no YAML", args: []string{"serve"}, file: "a: [", want: "--config"},
		{name: "no such file", args: []string{"serve", "--config", "/nonexistent/c.yaml"}, want: "/nonexistent/c.yaml"},
		{name: "fsck of nothing", args: []string{"fsck", "--data-dir", "/nonexistent/data"}, want: "/nonexistent/data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.file != "" {
				path := filepath.Join(t.TempDir(), "c.yaml")
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
				c.args = append(c.args, "--config", path)
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), c.args, c.env, &out, &errs)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if n := strings.Count(errs.String(), "\n"); n != 1 || !strings.Contains(errs.String(), c.want) {
				t.Errorf("want one line that says %q, got %d:\n%s", c.want, n, errs.String())
			}
		})
	}
}

func TestVersion(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"version"}, nil, &out, &errs); code != exitOK || !strings.HasPrefix(out.String(), "cigogne ") {
		t.Fatalf("exit code %d: %s%s", code, out.String(), errs.String())
	}
}

// TestAnErrorIsOneLine, and moves no terminal's cursor, whoever wrote it.
func TestAnErrorIsOneLine(t *testing.T) {
	if got, want := oneLine(errors.New("usage: it\nsays \x1b[2J\x00")), "it says ?[2J?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
