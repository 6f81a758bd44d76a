package main

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// measured is what a node says at /metrics, by series with labels.
func measured(t *testing.T, node *process) map[string]float64 {
	t.Helper()
	body, err := get(t.Context(), node.web+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z]\w+(?:\{.*\})?) (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		if all[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestMetricsTell what happened to what came: who sent it, how long each step
// took, why it was refused; and what waits.
func TestMetricsTell(t *testing.T) {
	t.Parallel()
	began := float64(time.Now().Unix())
	dir, flags := t.TempDir(), []string{"--sites", region(t), "--unknown-senders", "refuse", "--log-level", "error", "--settle", "100ms"}
	node := serve(t, dir, flags...)
	study := patient4711(9020)
	sender{t, node, "HTP_PACS"}.mustSend(study.Instances...)
	sender{t, node, "CABINET7"}.send(study.Instances[0])
	for body, contentType := range map[string]string{"no DICOM file": "application/dicom", "{}": "application/json"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+"/dicom-web/studies", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		answerTo(t, r, "haguenau's token")
	}
	n := float64(len(study.Instances))
	// In as many packs as there were quiet times, which depends on the machine.
	var packs float64
	node.eventually("archived", func() bool {
		got := measured(t, node)
		packs = got[`cigogne_step_duration_seconds_count{step="archive"}`]
		return got[`cigogne_step_duration_seconds_count{step="index"}`] == n && got[`cigogne_index_held{kind="live"}`] == 0 &&
			got["cigogne_packs_pending"] == 0 && packs > 0
	})
	const site = `{site="Hôpital de Hautepierre"}`
	got := measured(t, node)
	for series, want := range map[string]float64{
		"cigogne_site_received_instances_total" + site:                           n,
		`cigogne_step_duration_seconds_count{step="receive"}`:                    n,
		`cigogne_step_duration_seconds_count{step="journal"}`:                    n,
		`cigogne_step_duration_seconds_count{step="index"}`:                      n,
		`cigogne_step_duration_seconds_count{step="put"}`:                        packs,
		`cigogne_refused_instances_total{reason="forbidden",transport="dimse"}`:  1,
		`cigogne_refused_instances_total{reason="invalid",transport="stow"}`:     1,
		`cigogne_refused_instances_total{reason="unsupported",transport="stow"}`: 1,
		`cigogne_queue_age_seconds{queue="index"}`:                               0,
		`cigogne_queue_age_seconds{queue="pack"}`:                                0,
		`cigogne_queue_instances{queue="archive"}`:                               0,
		"cigogne_packs_pending":                                                  0,
		`cigogne_budget_used{budget="uploads"}`:                                  0,
		`cigogne_budget_limit{budget="API requests"}`:                            256,
		`cigogne_budget_limit{budget="uploads"}`:                                 96,
		`cigogne_cache_misses_total{cache="directories"}`:                        0,
	} {
		if is, ok := got[series]; !ok || is != want {
			t.Errorf("%s is %v (%v), not %v", series, is, ok, want)
		}
	}
	last := got["cigogne_site_last_received_timestamp_seconds"+site]
	if last < began || last > float64(time.Now().Unix())+1 {
		t.Errorf("last received %v", last)
	}
	if size, free := got["cigogne_disk_size_bytes"], got["cigogne_disk_free_bytes"]; size <= 0 || free <= 0 || free > size {
		t.Errorf("disk: %v of %v", free, size)
	}
	if took := got[`cigogne_step_duration_seconds_sum{step="archive"}`]; took < 0.1*packs {
		t.Errorf("archived after %v s, before the series was quiet", took)
	}

	node.stop()
	node = serve(t, dir, flags...)
	node.eventually("the site is remembered", func() bool {
		return measured(t, node)["cigogne_site_last_received_timestamp_seconds"+site] > began
	})
}

// TestMetricsOfAQueue: while the archive is away the age of what waits grows.
func TestMetricsOfAQueue(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--log-level", "error", "--settle", "10ms", "--archive", "s3://bucket/x?endpoint=http://127.0.0.1:1&region=r&path-style=true")
	study := patient4711(9021)
	for _, in := range study.Instances {
		r, err := http.Post(node.web+"/dicom-web/studies", "application/dicom", bytes.NewReader(fileOf(in)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	node.eventually("it waits", func() bool {
		got := measured(t, node)
		if limit := got[`cigogne_budget_limit{budget="fetches into the cache"}`]; limit != 16 {
			t.Errorf("%v fetches", limit)
		}
		return got[`cigogne_queue_age_seconds{queue="pack"}`] > 0.1 &&
			got[`cigogne_queue_instances{queue="pack"}`] == float64(len(study.Instances)) &&
			got[`cigogne_queue_bytes{queue="pack"}`] > 0
	})
}
