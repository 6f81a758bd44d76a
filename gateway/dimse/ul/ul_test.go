package ul_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
)

// cells reads the textual fixture: what the standard's table says, written
// down independently of the code.
func cells(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../../../testdata/wire/ul-table.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] == "#" || fields[0][0] == '#' {
			continue
		}
		if len(fields) != 1+ul.States {
			t.Fatalf("%s has %d cells", fields[0], len(fields)-1)
		}
		for i, cell := range fields[1:] {
			table[fmt.Sprintf("%s Sta%d", fields[0], i+1)] = cell
		}
	}
	if len(table) != ul.States*ul.Events {
		t.Fatalf("the fixture has %d cells", len(table))
	}
	return table
}

func TestStepIsTable9_10(t *testing.T) {
	table := cells(t)
	for event := ul.Event(1); event <= ul.Events; event++ {
		for state := ul.State(1); state <= ul.States; state++ {
			name := event.String() + " " + state.String()
			want := table[name]
			next, action := ul.Step(state, event)
			got := "-"
			if action != ul.None {
				got = fmt.Sprintf("%s/%d", action, next)
			} else if next != state {
				t.Errorf("%s: an empty cell moved to %s", name, next)
			}
			if first, _, fork := strings.Cut(want, "|"); fork {
				want = first
			}
			if got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
}

func TestStepOutsideTheTable(t *testing.T) {
	for _, c := range []struct {
		state ul.State
		event ul.Event
	}{{0, 1}, {14, 1}, {255, 19}, {1, 0}, {1, 20}, {6, 255}} {
		if next, action := ul.Step(c.state, c.event); next != c.state || action != ul.None {
			t.Errorf("Step(%d, %d) = %d, %s", c.state, c.event, next, action)
		}
	}
}

// TestMachineForks walks both sides through a release collision (PS3.8
// §7.2.2.8).
func TestMachineForks(t *testing.T) {
	for _, c := range []struct {
		requestor bool
		events    []ul.Event
		states    []ul.State
	}{
		{true, []ul.Event{ul.AssociateRequest, ul.TransportConfirmed, ul.ReceivedAssociateAC, ul.ReleaseRequest,
			ul.ReceivedReleaseRQ, ul.ReleaseResponse, ul.ReceivedReleaseRP},
			[]ul.State{ul.Sta4, ul.Sta5, ul.Sta6, ul.Sta7, ul.Sta9, ul.Sta11, ul.Sta1}},
		{false, []ul.Event{ul.TransportIndication, ul.ReceivedAssociateRQ, ul.AcceptResponse, ul.ReleaseRequest,
			ul.ReceivedReleaseRQ, ul.ReceivedReleaseRP, ul.ReleaseResponse, ul.TransportClosed},
			[]ul.State{ul.Sta2, ul.Sta3, ul.Sta6, ul.Sta7, ul.Sta10, ul.Sta12, ul.Sta13, ul.Sta1}},
	} {
		m := ul.NewMachine(c.requestor)
		for i, e := range c.events {
			if action := m.Fire(e); action == ul.None || m.State() != c.states[i] {
				t.Fatalf("requestor %v: %s led by %s to %s, want %s", c.requestor, e, action, m.State(), c.states[i])
			}
		}
	}
}
