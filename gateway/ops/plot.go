package ops

import (
	"encoding/json"
	"time"
)

// Plot is a rate of all nodes over time.
type Plot struct {
	ID    string
	Nodes []string
	// Data is for the script: the seconds of Unix time, then a list for each
	// node, null where nothing is known.
	Data string
	Now  []int64 // the newest of each node; -1 for unknown
	// Rows are the table behind it, the newest first.
	Rows []PlotRow
}

// PlotRow is the mean over a part of the time.
type PlotRow struct {
	From, To time.Time
	Rates    []int64
}

// Plots are what is received and what is sent.
func (v *view) Plots() []Plot {
	return []Plot{
		v.plot("received", func(f Flow) []int64 { return f.Received }),
		v.plot("sent", func(f Flow) []int64 { return f.Sent }),
	}
}

func (v *view) plot(id string, of func(Flow) []int64) Plot {
	p := Plot{ID: id}
	var flows []Flow
	var end int64
	for _, n := range v.Nodes {
		if n.Report == nil {
			continue
		}
		f := n.Report.Recent
		if v.Day {
			f = n.Report.Day
		}
		p.Nodes, flows = append(p.Nodes, n.Name), append(flows, f)
		end = max(end, f.End)
	}
	step, steps, row := int64(recentStep), int64(recentSteps), int64(60)
	if v.Day {
		step, steps, row = dayStep, daySteps, 3600
	}
	begin := end - steps*step
	lines := make([][]int64, len(flows))
	for i, f := range flows {
		lines[i] = aligned(f, of(f), begin, step, steps)
		p.Now = append(p.Now, newest(lines[i]))
	}
	p.Data = plotData(begin, step, steps, lines)
	for to := end; to > begin && end > 0; to -= row {
		r := PlotRow{From: time.Unix(to-row, 0), To: time.Unix(to, 0)}
		known := false
		for _, l := range lines {
			m := mean(l[(to-row-begin)/step : (to-begin)/step])
			known = known || m >= 0
			r.Rates = append(r.Rates, m)
		}
		if known {
			p.Rows = append(p.Rows, r)
		}
	}
	return p
}

// aligned are the rates of the steps after begin.
func aligned(f Flow, rates []int64, begin, step, steps int64) []int64 {
	line := make([]int64, steps)
	for i := range line {
		line[i] = unknown
	}
	if f.Step != step {
		return line // of a node of another version
	}
	for i, r := range rates {
		at := (f.End-int64(len(rates)-1-i)*step-begin)/step - 1
		if at >= 0 && at < steps {
			line[at] = r
		}
	}
	return line
}

// newest is the last rate but one step that may be on its way.
func newest(line []int64) int64 {
	n := len(line)
	if line[n-1] == unknown && n > 1 {
		return line[n-2]
	}
	return line[n-1]
}

func mean(line []int64) int64 {
	var sum, n int64
	for _, r := range line {
		if r != unknown {
			sum, n = sum+r, n+1
		}
	}
	if n == 0 {
		return unknown
	}
	return sum / n
}

func plotData(begin, step, steps int64, lines [][]int64) string {
	data := make([][]*int64, 0, len(lines)+1)
	times := make([]*int64, steps)
	for i := range times {
		at := begin + (int64(i)+1)*step
		times[i] = &at
	}
	data = append(data, times)
	for _, l := range lines {
		one := make([]*int64, len(l))
		for i := range l {
			if l[i] != unknown {
				one[i] = &l[i]
			}
		}
		data = append(data, one)
	}
	b, err := json.Marshal(data)
	if err != nil { // numbers alone
		return "[]"
	}
	return string(b)
}
