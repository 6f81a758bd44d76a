package puller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/storage"
)

// ErrLeftOut marks a pull that came to its end without instances that the
// gateway cannot read, or gives damaged each time. Each was told; a folder has
// all others, a ZIP file stays unfinished for a pull that finds them mended.
var ErrLeftOut = fmt.Errorf("%w: the gateway does not have all of the study whole", storage.ErrCorrupt)

// unreadable goes on without the instance that lies at an offset, or behind the
// gap there, when err says that the gateway cannot read it.
func (p *pull) unreadable(ctx context.Context, at int64, err error) bool {
	var r *client.Refusal
	if !errors.As(err, &r) || r.Status != http.StatusInternalServerError || p.await(ctx) != nil {
		return false
	}
	i := p.plan.at(at)
	if i == len(p.plan.Instances) {
		return false
	}
	p.leaveOut(i, err.Error())
	return true
}

// leaveOut goes on without an instance.
func (p *pull) leaveOut(i int, why string) {
	p.spans.remove(p.plan.withGap(i))
	p.mu.Lock()
	before := p.leftOut[i]
	p.leftOut[i] = true
	p.mu.Unlock()
	if before { // several ranges of it failed
		return
	}
	instance := p.plan.Instances[i].SOPInstanceUID
	p.Work.Tell(progress.Event{
		Name: "leftout", Text: "instance " + instance + " is left out: " + why,
		Fields: []slog.Attr{slog.String("instance", instance), slog.String("why", why)},
	})
}
