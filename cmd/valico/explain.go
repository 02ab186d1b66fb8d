package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// explanation is a reason in words.
type explanation struct{ Text, Basis, Help, Who string }

// standingLine stands under every negative answer.
func (e *env) standingLine() string {
	if e.opts.lang == "it" {
		return "un controllo tecnico di un lavoro, non una decisione sulla vostra autorizzazione"
	}
	return "a technical check of a job, not a decision on your permit"
}

// explain gives the words of a reason.
func (e *env) explain(r wire.Reason) explanation {
	return explanation{Text: strings.ReplaceAll(r.Code, "_", " "), Basis: r.Basis}
}

// printReasons writes each reason with its basis, the value that it is about,
// what helps and who can help.
func (e *env) printReasons(w io.Writer, rs []wire.Reason) {
	for _, r := range rs {
		x := e.explain(r)
		fmt.Fprintf(w, "%s\n", clean(r.Code+": "+x.Text))
		line := func(name, value string) {
			if value != "" {
				fmt.Fprintf(w, "  %-12s %s\n", name+":", clean(value))
			}
		}
		line("basis", x.Basis)
		line("about", r.Path)
		line("your value", values(r.Params))
		line("what helps", x.Help)
		line("who helps", x.Who)
	}
	if len(rs) > 0 {
		fmt.Fprintf(w, "\n%s.\n", e.standingLine())
	}
}

// values lists parameters in the order of their names.
func values(params map[string]string) string {
	out := make([]string, 0, len(params))
	for _, k := range slices.Sorted(maps.Keys(params)) {
		out = append(out, k+" "+params[k])
	}
	return strings.Join(out, ", ")
}
