// Command compare names what got worse of our node, or better, between two
// result files by more than noise explains. It ends with 1 when anything got
// worse.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

func main() {
	worse, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	if worse {
		os.Exit(1)
	}
}

func run(args []string) (worse bool, err error) {
	if len(args) != 2 {
		return false, errors.New("usage: compare OLD.json NEW.json")
	}
	old, err := result.Read(args[0])
	if err != nil {
		return false, err
	}
	now, err := result.Read(args[1])
	if err != nil {
		return false, err
	}
	if old.Machine != now.Machine {
		fmt.Printf("note: taken on different machines: %+v and %+v\n", old.Machine, now.Machine)
	}
	changes := result.Compare(old, now)
	for _, c := range changes {
		word := "better"
		if c.By < 0 {
			word, worse = "WORSE", true
		}
		fmt.Printf("%-6s %-18s %-20s %-24s %10.2f -> %10.2f  %+.0f %% (noise %.0f %%)\n",
			word, c.New.Workload, c.New.Subject, c.New.Measure, c.Old.Median, c.New.Median, 100*c.By, 100*c.Noise)
	}
	if len(changes) == 0 {
		fmt.Println("nothing changed by more than noise")
	}
	return worse, nil
}
