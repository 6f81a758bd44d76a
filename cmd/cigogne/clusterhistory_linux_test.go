package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// history is what clients were told.
type history struct {
	*ledger
	t     *testing.T
	fleet *fleet
	// findable has of each study the instances that whoever asks from now on
	// must find at every node; its keys are in studies, too. Guarded by
	// ledger.mu, as the counts are.
	findable                map[string][]string
	studies                 []string
	answers, bounded, reads int
}

// clientPatience bounds what a client waits for.
const clientPatience = 3 * time.Second

// store stores one study after the other, each in parts at any node and by
// either protocol, and now and then something large.
func (h *history) store(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		o := dicomtest.Options{Seed: random.Uint64(), Modality: "CR", Instances: 12}
		if random.IntN(6) == 0 {
			o.Modality, o.Instances, o.Frames = "CT", 2, 1+random.IntN(24) // up to 12 MiB
		}
		for part := range slices.Chunk(dicomtest.NewStudy(o).Instances, 4) {
			node := h.fleet.at(random.IntN(3))
			bounded, cancel := context.WithTimeout(ctx, clientPatience)
			if random.IntN(2) == 0 {
				h.storeWeb(bounded, node, part)
			} else {
				h.storeDIMSE(bounded, node, part)
			}
			cancel()
			pause(ctx)
		}
	}
}

// pause leaves room for others on a small machine.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

// storeWeb stores by STOW-RS: what is answered without a warning is found
// everywhere.
func (h *history) storeWeb(ctx context.Context, node *process, part []dicomtest.Instance) {
	var files [][]byte
	byUID := map[string]dicomtest.Instance{}
	for _, in := range part {
		byUID[in.SOPInstanceUID] = in
		files = append(files, append(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, in.TransferSyntaxUID), h.send(in)...))
	}
	answer, err := answerToSTOW(ctx, node.web, files...)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	_, stored, _ := storedOf(answer) // what was cut off acknowledges nothing
	warned := slices.Contains(answer.Header.Values("Warning"), dicomweb.NotFoundYet)
	for _, uid := range stored {
		h.acknowledge(byUID[uid])
		if !warned {
			h.find(byUID[uid])
		}
	}
}

func (h *history) find(in dicomtest.Instance) {
	h.mu.Lock()
	defer h.mu.Unlock()
	study := in.StudyInstanceUID
	if h.findable[study] == nil {
		h.studies = append(h.studies, study)
	}
	h.findable[study] = append(h.findable[study], in.SOPInstanceUID)
}

// storeDIMSE stores by C-STORE.
func (h *history) storeDIMSE(ctx context.Context, node *process, part []dicomtest.Instance) {
	a, err := associate(ctx, node.dimse, 1, part...)
	if err != nil {
		return
	}
	defer a.Abort()
	for _, in := range part {
		if cstore(ctx, a, in, bytes.NewReader(h.send(in))) != nil {
			return
		}
		h.acknowledge(in)
	}
}

// some is a study of those that must be found, mostly a late one, and what of
// it must be.
func (h *history) some(random *rand.Rand) (study string, must []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.studies)
	if n == 0 {
		return "", nil
	}
	study = h.studies[random.IntN(n)]
	if random.IntN(2) == 0 {
		study = h.studies[n-1-random.IntN(min(n, 3))]
	}
	return study, slices.Clone(h.findable[study])
}

// ask is a session that goes from node to node. It asks for what it saw
// before, so that it never goes back, whoever leads.
func (h *history) ask(ctx context.Context, random *rand.Rand) {
	var seen uint64
	known := map[string][]string{}
	for ; ctx.Err() == nil; pause(ctx) {
		study, must := h.some(random)
		if study == "" {
			continue
		}
		node := h.fleet.at(random.IntN(3))
		bounded, cancel := context.WithTimeout(ctx, clientPatience)
		got, err := listStudy(bounded, node, study, seen)
		if err == nil {
			h.check(study, must, known[study], seen, got)
			seen = got.at
			if got.strong {
				known[study] = got.instances
			}
		}
		if err == nil && len(must) > 0 {
			h.read(bounded, node, study, must[random.IntN(len(must))])
		}
		cancel()
	}
}

// check holds one answer to what was acknowledged before it was asked for, and
// to what the same session saw.
func (h *history) check(study string, must, known []string, seen uint64, got listed) {
	h.mu.Lock()
	h.answers++
	if !got.strong { // the answer may have more than it says, and so the session
		h.bounded++
		must, known = nil, nil
	}
	h.mu.Unlock()
	if got.at < seen {
		h.t.Errorf("a session went from entry %d back to %d", seen, got.at)
	}
	slices.Sort(got.instances)
	if once := slices.Compact(slices.Clone(got.instances)); len(once) != len(got.instances) {
		h.t.Errorf("of %d instances listed in study %s only %d differ", len(got.instances), study, len(once))
	}
	for what, list := range map[string][]string{"which was acknowledged before": must, "which the same session saw before": known} {
		for _, uid := range list {
			if !slices.Contains(got.instances, uid) {
				h.t.Errorf("at entry %d an answer misses instance %s, %s", got.at, uid, what)
			}
		}
	}
}

// read reads an instance that was acknowledged, from whichever node has it. It
// may be out of reach, but neither missing nor another.
func (h *history) read(ctx context.Context, node *process, study, uid string) {
	var key storage.InstanceKey
	var want storage.Digest
	h.mu.Lock()
	for k, digest := range h.acknowledged {
		if k.StudyInstanceUID == study && k.SOPInstanceUID == uid {
			key, want = k, digest
			break
		}
	}
	h.mu.Unlock()
	got, err := fetch(ctx, node.web, key, "Cigogne-Consistency", string(consensus.Strong))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		h.t.Errorf("instance %s was acknowledged, and is not there", uid)
	case err == nil && got != want:
		h.t.Errorf("instance %s has digest %s, not %s", uid, got, want)
	case err == nil:
		h.mu.Lock()
		h.reads++
		h.mu.Unlock()
	}
}

// begun waits until something was acknowledged, found and read.
func (h *history) begun() {
	h.t.Helper()
	h.fleet.at(0).eventually("something was stored and read", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.reads > 0
	})
}

// complete holds what a node lists to what was sent and acknowledged.
func (h *history) complete(node *process) {
	h.t.Helper()
	acknowledged := studiesOf(h.acknowledged)
	for study, uids := range studiesOf(h.sent) {
		var got listed
		var found []dicom.DataSet
		node.eventually("study "+study+" is listed", func() bool { // there may be an election
			var err error
			if got, err = listStudy(h.t.Context(), node, study, 0); err != nil || !got.strong {
				return false
			}
			found, err = search(h.t.Context(), node.web, "studies", url.Values{"StudyInstanceUID": {study}, "includefield": {"NumberOfStudyRelatedInstances"}})
			return err == nil || errors.Is(err, storage.ErrNotFound)
		})
		h.check(study, slices.Collect(maps.Keys(acknowledged[study])), nil, 0, got)
		for _, uid := range got.instances {
			if !uids[uid] {
				h.t.Errorf("instance %s is listed, and was never sent", uid)
			}
		}
		if len(found) != min(len(got.instances), 1) {
			h.t.Errorf("study %s, of %d instances, is there %d times", study, len(got.instances), len(found))
		}
		if len(found) == 1 && found[0].String(0x00201208) != strconv.Itoa(len(got.instances)) {
			h.t.Errorf("study %s counts %s instances, and lists %d", study, found[0].String(0x00201208), len(got.instances))
		}
	}
}

func studiesOf(all map[storage.InstanceKey]storage.Digest) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for k := range all {
		if out[k.StudyInstanceUID] == nil {
			out[k.StudyInstanceUID] = map[string]bool{}
		}
		out[k.StudyInstanceUID][k.SOPInstanceUID] = true
	}
	return out
}

// listed is what a node lists of a study, and how.
type listed struct {
	instances []string
	at        uint64 // up to which entry it saw everything
	strong    bool
}

// listStudy lists a study at a node that has come at least to an entry.
func listStudy(ctx context.Context, node *process, study string, least uint64) (l listed, err error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, node.web+"/dicom-web/studies/"+study+"/instances?limit=1000", nil)
	if err != nil {
		return l, err
	}
	rq.Header.Set("Cigogne-Min-Index", strconv.FormatUint(least, 10))
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return l, err
	}
	defer answer.Body.Close()
	l.strong = answer.Header.Get("Cigogne-Consistency") == "strong"
	if l.at, err = strconv.ParseUint(answer.Header.Get("Cigogne-Index"), 10, 64); err != nil {
		return l, fmt.Errorf("%s: %w", answer.Status, err)
	}
	switch answer.StatusCode {
	case http.StatusNoContent, http.StatusNotFound:
		return l, nil
	case http.StatusOK:
	default:
		return l, errors.New(answer.Status)
	}
	var found []dicom.DataSet
	err = json.NewDecoder(answer.Body).Decode(&found)
	for _, ds := range found {
		l.instances = append(l.instances, ds.String(0x00080018))
	}
	return l, err
}
