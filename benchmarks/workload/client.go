package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// stay leaves a process at this end of a line.
func stay(*exec.Cmd) {}

// cigogne runs one of its client commands, which end with 0 only when all was
// moved and verified.
func (s Settings) cigogne(ctx context.Context, move func(*exec.Cmd), args ...string) error {
	cmd := exec.CommandContext(ctx, s.Programs.Cigogne, args...)
	move(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cigogne %s: %w: %s", args[0], err, out[:min(len(out), 500)])
	}
	return nil
}

// push sends with `cigogne push`, its start and its end included.
func (s Settings) push(connections int, move func(*exec.Cmd)) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		args := []string{"push", "--gateway", r.At.Web, "--connections", strconv.Itoa(connections)}
		for i := range r.Series.Instances {
			args = append(args, r.Series.Instances[i].Path)
		}
		began := time.Now()
		err := s.cigogne(ctx, move, args...)
		return benchmarks.Work{Bytes: r.Series.Bytes(), Units: len(r.Series.Instances), Elapsed: time.Since(began)}, err
	}
}

// pull fetches a study that is held with `cigogne pull`, into a folder or with
// a suffix a file, in memory or below the subject's directory.
func (s Settings) pull(h *held, connections int, suffix string, onDisk bool, move func(*exec.Cmd)) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		series, err := h.get()
		if err != nil {
			return benchmarks.Work{}, err
		}
		return into(s.outside(r, onDisk), func(dir string) (benchmarks.Work, error) {
			began := time.Now()
			err := s.cigogne(ctx, move, "pull", "--gateway", r.At.Web, "--connections", strconv.Itoa(connections),
				"--study", series.StudyInstanceUID, "-o", filepath.Join(dir, "study"+suffix))
			return benchmarks.Work{Bytes: series.Bytes(), Units: 1, Elapsed: time.Since(began)}, err
		})
	}
}

// outside is where clients may put what they get.
func (s Settings) outside(r benchmarks.Round, onDisk bool) string {
	if onDisk {
		return r.At.Dir
	}
	return s.Material
}

// into has a driver work in a directory that is removed after it.
func into(parent string, drive func(dir string) (benchmarks.Work, error)) (benchmarks.Work, error) {
	dir, err := os.MkdirTemp(parent, "out-")
	if err != nil {
		return benchmarks.Work{}, err
	}
	w, err := drive(dir)
	return w, errors.Join(err, os.RemoveAll(dir))
}

// copied is `cp`, and the sync that makes its copy as safe as ours when that
// is wanted.
func copied(of func(benchmarks.Round) (*material.Series, error), sync bool) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		series, err := of(r)
		if err != nil {
			return benchmarks.Work{}, err
		}
		return into(r.At.Dir, func(dir string) (benchmarks.Work, error) {
			args := []string{"-t", dir}
			for i := range series.Instances {
				args = append(args, series.Instances[i].Path)
			}
			began := time.Now()
			out, err := exec.CommandContext(ctx, "cp", args...).CombinedOutput()
			if err == nil && sync {
				out, err = exec.CommandContext(ctx, "sync", "-f", dir).CombinedOutput()
			}
			if err != nil {
				err = fmt.Errorf("cp: %w: %s", err, out)
			}
			return benchmarks.Work{Bytes: series.Bytes(), Units: len(series.Instances), Elapsed: time.Since(began)}, err
		})
	}
}

// rawHTTP is what HTTP alone does in Go: files sent to a server that throws
// them away, a request each.
func rawHTTP(connections int) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return benchmarks.Work{}, err
		}
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, rq *http.Request) {
			if _, err := drain(rq.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		})}
		var g errgroup.Group
		g.Go(func() error { return server.Serve(l) })
		c, done := client(connections, nil)
		w, err := together(ctx, r, connections, func(ctx context.Context, part []material.Instance) error {
			for i := range part {
				if err := postFile(ctx, c, "http://"+l.Addr().String(), part[i].Path); err != nil {
					return err
				}
			}
			return nil
		})
		done()
		server.Close()
		if serr := g.Wait(); err == nil && !errors.Is(serr, http.ErrServerClosed) {
			err = serr
		}
		return w, err
	}
}

func postFile(ctx context.Context, c *http.Client, url, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(f))
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	rq.ContentLength = st.Size()
	rsp, err := c.Do(rq)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if _, err := drain(rsp.Body); err != nil || rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST: %s, %w", rsp.Status, err)
	}
	return nil
}

// clients are `cigogne push` and `pull` of a study of 0.5 GB on this machine,
// beside a copy of its files and what HTTP does alone.
func (s Settings) clients() []benchmarks.Workload {
	const connections = 8
	amount := 2 * s.Instances
	h := s.hold("held-half-gigabyte", material.Kind{Modality: "CT"}, amount)
	sent := func(r benchmarks.Round) (*material.Series, error) { return r.Series, nil }
	there := func(benchmarks.Round) (*material.Series, error) { return h.get() }
	limit := func(name, promise string) subject.Client { return subject.Client{Title: name, Safe: promise} }
	filled := func(c benchmarks.Case) benchmarks.Case {
		c.Fill, c.Drive = h.filled, once(c.Drive)
		return c
	}
	pulled := func(how, suffix string, onDisk bool) benchmarks.Case {
		return filled(benchmarks.Case{Subject: named{s.ours(), s.ours().Name() + " " + how}, Drive: s.pull(h, connections, suffix, onDisk, stay)})
	}
	cp := limit("cp", "none: left to the kernel to write")
	cpSync := limit("cp sync", "synced to the disk at the end")
	get := benchmarks.Case{Subject: subject.Nginx{}, Fill: h.asFiles, Drive: once(getsOver(1, files, h.studyFile, nil))}
	return []benchmarks.Workload{
		{
			Name: "push", Title: "a study of 0.5 GB pushed by `cigogne push` over loopback, 8 connections",
			Primary: result.Throughput, Unit: result.Instances, Amount: amount, Material: ct,
			Cases: []benchmarks.Case{
				{Subject: s.ours(), Drive: s.push(connections, stay)},
				{Subject: named{s.ours(), "cigogne stow x8"}, Drive: stow(connections, 100)},
				{Subject: limit("raw http", "none: thrown away"), Drive: rawHTTP(connections)},
				{Subject: cp, Drive: copied(sent, false)},
				{Subject: cpSync, Drive: copied(sent, true)},
			},
		},
		{
			Name: "pull", Title: "a study of 0.5 GB pulled by `cigogne pull` over loopback, 8 connections, verified",
			Primary: result.Throughput, Unit: result.Requests, Amount: amount,
			Cases: []benchmarks.Case{
				filled(benchmarks.Case{Subject: s.ours(), Drive: s.pull(h, connections, "", true, stay)}),
				pulled("zip", ".zip", true), pulled("to memory", "", false),
				get,
				{Subject: cp, Drive: once(copied(there, false))},
				{Subject: cpSync, Drive: once(copied(there, true))},
			},
		},
	}
}
