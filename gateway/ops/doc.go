// Package ops is the page from which operators watch all nodes: what is not
// well and what to do, how the nodes reach each other, what waits, who sends.
// Any node shows it; DESIGN.md says why it is made this way.
package ops
