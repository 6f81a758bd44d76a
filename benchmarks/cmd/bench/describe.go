package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/proc"
	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// describe is a result without figures: what they will be taken with.
func describe(ctx context.Context, scratch string) (*result.File, error) {
	f := &result.File{Taken: time.Now().UTC(), Machine: proc.ThisMachine(scratch), Versions: map[string]string{}, Promises: map[string]string{}}
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=9", "HEAD").Output()
	if err != nil {
		return nil, fmt.Errorf("git rev-parse: %w", err)
	}
	f.Commit = strings.TrimSpace(string(commit))
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
	f.Dirty = err != nil || len(changes) > 0
	for name, command := range map[string][]string{
		"DCMTK":   {"storescu", "--version"},
		"Orthanc": {"Orthanc", "--version"},
		"nginx":   {"nginx", "-v"},
	} {
		f.Versions[name] = versionOf(ctx, command)
	}
	const busy = 0.5
	if load := proc.Load(); load > busy {
		f.Notes = append(f.Notes, fmt.Sprintf("the load average was %.1f before anything began: this machine is not quiet", load))
	}
	return f, nil
}

// versionOf is the first line that a program prints about itself which holds
// a digit.
func versionOf(ctx context.Context, command []string) string {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(cmd.Environ(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if _, err := exec.LookPath(command[0]); err != nil {
		cmd.Path = "/usr/sbin/" + command[0]
		cmd.Err = nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "not installed"
	}
	for line := range bytes.Lines(out) {
		if bytes.ContainsAny(line, "0123456789") {
			return strings.TrimSpace(string(line))
		}
	}
	return "unknown"
}
