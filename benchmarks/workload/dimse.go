package workload

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/line"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// moverPort is where movescu listens at the far end of a line, where nobody
// else does.
const (
	moverPort = "11190"
	moverAt   = line.Far + ":" + moverPort
)

// movescu has a study that is held sent to DCMTK's movescu by C-MOVE, over an
// association of the subject's; what comes is thrown away.
func movescu(h *held, move func(*exec.Cmd)) driver {
	return retrieving(h, "movescu", move, "-aet", subject.Mover, "-aem", subject.Mover, "+P", moverPort)
}

// getscu has DCMTK's getscu retrieve it by C-GET.
func getscu(h *held, move func(*exec.Cmd)) driver { return retrieving(h, "getscu", move) }

// retrieving runs one of them, start and end included.
func retrieving(h *held, program string, move func(*exec.Cmd), flags ...string) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			return benchmarks.Work{}, fmt.Errorf("%s: %w", program, subject.ErrMissing)
		}
		series, err := h.get()
		if err != nil {
			return benchmarks.Work{}, err
		}
		host, port, err := net.SplitHostPort(r.At.DIMSE)
		if err != nil {
			return benchmarks.Work{}, err
		}
		args := append([]string{"-v", "-S", "-aec", r.At.AETitle, "--ignore"}, flags...)
		args = append(args, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID="+series.StudyInstanceUID, host, port)
		cmd := exec.CommandContext(ctx, path, args...)
		move(cmd)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		took := time.Since(began)
		came := bytes.Count(out, []byte("Received Store Request")) + bytes.Count(out, []byte("Received C-STORE Request"))
		if err == nil && came != len(series.Instances) {
			err = fmt.Errorf("%d of %d instances came", came, len(series.Instances))
		}
		if err != nil {
			return benchmarks.Work{}, fmt.Errorf("%s: %w: %s", program, err, out[max(0, len(out)-500):])
		}
		return benchmarks.Work{Bytes: series.Bytes(), Units: 1, Elapsed: took}, nil
	}
}
