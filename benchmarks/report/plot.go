package report

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// plot is a drawing of curves over a common axis, figures by their logarithm.
type plot struct {
	title, unit string
	ticks       []string // along the axis, one for each x
	curves      []curve
}

type curve struct {
	name string
	role result.Role
	y    []float64 // NaN where there is none
}

const (
	width, height           = 480.0, 230.0
	left, right, top, below = 56.0, 140.0, 26.0, 34.0
)

// colour tells roles apart, and curves of one role by their place.
func colour(role result.Role, place int) string {
	shades := map[result.Role][]string{
		result.Ours:  {"#c0392b", "#e67e22", "#f1a08f"},
		result.Peer:  {"#2c5f9e", "#5b8fd0", "#1f8a8a", "#86a8c9", "#4a4a9e"},
		result.Limit: {"#666666", "#999999", "#bbbbbb", "#444444"},
	}[role]
	return shades[place%len(shades)]
}

// bounds are the least and the most figure that is drawn.
func (p plot) bounds() (least, most float64) {
	least, most = math.Inf(1), 0
	for _, c := range p.curves {
		for _, y := range c.y {
			if y > 0 {
				least, most = min(least, y), max(most, y)
			}
		}
	}
	if math.IsInf(least, 1) {
		return 0.1, 1
	}
	// A decade at the least, or small differences would look large.
	return min(least, most/10), most
}

// place is where a figure is drawn: x of the n-th tick, y of the value.
func (p plot) place(n int, v float64) (x, y float64) {
	least, most := p.bounds()
	share := math.Log(v/least) / math.Log(most/least)
	span := width - left - right
	x = left + span/2
	if len(p.ticks) > 1 {
		x = left + span*float64(n)/float64(len(p.ticks)-1)
	}
	return x, height - below - share*(height-top-below)
}

// svg draws it.
func (p plot) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" width="%g" height="%g" role="img">`, width, height, width, height)
	fmt.Fprintf(&b, `<text x="4" y="14" class="t">%s (%s)</text>`, html.EscapeString(p.title), html.EscapeString(p.unit))
	p.axes(&b)
	places := map[result.Role]int{}
	for i, c := range p.curves {
		stroke := colour(c.role, places[c.role])
		places[c.role]++
		p.curve(&b, c, stroke)
		y := top + 12*float64(i)
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="8" height="8" fill="%s"/><text x="%g" y="%g">%s</text>`,
			width-right+10, y, stroke, width-right+22, y+8, html.EscapeString(c.name))
	}
	b.WriteString("</svg>")
	return b.String()
}

func (p plot) axes(b *strings.Builder) {
	least, most := p.bounds()
	for _, v := range []float64{least, math.Sqrt(least * most), most} {
		_, y := p.place(0, v)
		fmt.Fprintf(b, `<line x1="%g" y1="%.1f" x2="%g" y2="%.1f" class="g"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`,
			left, y, width-right, y, left-4, y+4, cell(v))
	}
	// Few enough to be read: the others are dots without a name.
	every := (len(p.ticks) + 7) / 8
	for n, t := range p.ticks {
		if n%max(every, 1) != 0 {
			continue
		}
		x, _ := p.place(n, most)
		fmt.Fprintf(b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, x, height-below+14, html.EscapeString(t))
	}
}

func (p plot) curve(b *strings.Builder, c curve, stroke string) {
	var points []string
	for n, v := range c.y {
		if math.IsNaN(v) || v <= 0 {
			continue
		}
		x, y := p.place(n, v)
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"><title>%s: %s</title></circle>`,
			x, y, stroke, html.EscapeString(c.name), cell(v))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, strings.Join(points, " "), stroke)
}
