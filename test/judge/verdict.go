package judge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/test/history"
)

// A Violation is one thing that must not be.
type Violation struct {
	// Invariant is the number, as "I02"; "run" if the run proves nothing, "client" if
	// the clients or their records are not as package history asks for.
	Invariant string
	Text      string
	// Records are the places, in Run.Records, of what it is about.
	Records []int
}

// String is the violation in one line.
func (v Violation) String() string { return v.Invariant + ": " + v.Text }

// A Verdict is what the judge has found.
type Verdict struct {
	Violations []Violation
	// Counts says how much each check has looked at. The keys are stable.
	Counts map[string]int
	// Blind says what could not be checked, and why.
	Blind []string

	run     *history.Run
	dropped map[string]int
}

// OK says that nothing is wrong.
func (v *Verdict) OK() bool { return len(v.Violations) == 0 }

// Has says whether something is wrong about this invariant.
func (v *Verdict) Has(invariant string) bool {
	return slices.ContainsFunc(v.Violations, func(x Violation) bool { return x.Invariant == invariant })
}

// Err is nil if nothing is wrong, else it tells all of it.
func (v *Verdict) Err() error {
	if v.OK() {
		return nil
	}
	return errors.New(v.String())
}

// maxPerInvariant bounds how often the same is told: one mistake often breaks many
// replies, and the first ones say most.
const maxPerInvariant = 5

func (v *Verdict) add(invariant, text string, records ...int) {
	n := 0
	for i := range v.Violations {
		if v.Violations[i].Invariant == invariant {
			n++
		}
	}
	if n >= maxPerInvariant {
		v.dropped[invariant]++
		return
	}
	records = slices.DeleteFunc(records, func(i int) bool { return i < 0 })
	v.Violations = append(v.Violations, Violation{invariant, text, records})
}

func (v *Verdict) blind(format string, args ...any) {
	v.Blind = append(v.Blind, fmt.Sprintf(format, args...))
}

// String tells all violations with the records around them, then what was checked.
func (v *Verdict) String() string {
	var b strings.Builder
	if v.run.About.Name != "" {
		fmt.Fprintf(&b, "%s: ", v.run.About.Name)
	}
	if v.OK() {
		b.WriteString("nothing is wrong\n")
	} else {
		fmt.Fprintf(&b, "%d violations\n", len(v.Violations))
	}
	for i := range v.Violations {
		x := &v.Violations[i]
		fmt.Fprintf(&b, "%s\n", x)
		last := -1
		for _, at := range v.around(x.Records) {
			if last >= 0 && at != last+1 {
				b.WriteString("        …\n")
			}
			last = at
			mark := "   "
			if slices.Contains(x.Records, at) {
				mark = "-> "
			}
			fmt.Fprintf(&b, "    %s#%-5d %s\n", mark, at, v.run.Records[at])
		}
	}
	for _, inv := range slices.Sorted(maps.Keys(v.dropped)) {
		fmt.Fprintf(&b, "%s: and %d more\n", inv, v.dropped[inv])
	}
	b.WriteString("checked:")
	for _, name := range slices.Sorted(maps.Keys(v.Counts)) {
		fmt.Fprintf(&b, " %s %d,", name, v.Counts[name])
	}
	b.WriteString("\n")
	for _, s := range v.Blind {
		fmt.Fprintf(&b, "blind: %s\n", s)
	}
	return b.String()
}

// around are the places of records, of what the same connections saw just before
// and after, and of the faults near them.
func (v *Verdict) around(records []int) []int {
	const near = 2
	show := map[int]bool{}
	for _, at := range records {
		show[at] = true
		r := &v.run.Records[at]
		for _, step := range []int{-1, 1} {
			found := 0
			for i := at + step; i >= 0 && i < len(v.run.Records) && found < near && i != at+step*400; i += step {
				o := &v.run.Records[i]
				if o.Client == r.Client && o.Conn == r.Conn {
					show[i] = true
					found++
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(show))
}
