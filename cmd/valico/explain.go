package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/policy/messages"
)

// explanation is a reason in words.
type explanation struct{ Text, Help, Who, Article string }

// standingLine stands under every negative answer.
func (e *env) standingLine() string {
	if text, ok := messages.Summary(e.lang()); ok {
		return text
	}
	return "This is a technical check of a job, not a decision on your permit."
}

// explain gives the words of a reason; the code alone where there are none, as
// for a rule of a newer broker.
func (e *env) explain(r wire.Reason) explanation {
	m, ok := messages.Explain(e.lang(), r.Code, r.Params)
	if !ok {
		return explanation{Text: r.Code}
	}
	return explanation(m)
}

// lang is English until the options are read: a usage error may come first.
func (e *env) lang() string {
	if e.opts.lang == "" {
		return "en"
	}
	return e.opts.lang
}

// basis says in words what a rule rests on.
func (e *env) basis(b string) string {
	words := map[string][2]string{
		"in_force":         {"law in force", "diritto in vigore"},
		"national":         {"national law", "diritto nazionale"},
		"permit_condition": {"a condition of the permit", "una condizione dell'autorizzazione"},
		"contract":         {"an agreement with the site or environment", "un accordo con il sito o l'ambiente"},
		"anticipated":      {"anticipated: not yet law", "anticipata: non ancora in vigore"},
	}
	w, ok := words[b]
	switch {
	case !ok:
		return b
	case e.lang() == "it":
		return w[1]
	}
	return w[0]
}

// printReasons writes each reason with its basis, the value that it is about,
// what helps and who can help.
func (e *env) printReasons(w io.Writer, rs []wire.Reason) {
	for i, r := range rs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		x := e.explain(r)
		fmt.Fprintf(w, "%s\n", clean(r.Code+": "+x.Text))
		line := func(en, it, value string) {
			name := en
			if e.lang() == "it" {
				name = it
			}
			if value != "" {
				fmt.Fprintf(w, "  %-18s %s\n", name+":", clean(value))
			}
		}
		line("basis", "fondamento", strings.TrimSuffix(e.basis(r.Basis)+", "+x.Article, ", "))
		line("about", "riguarda", r.Path)
		line("your value", "il vostro valore", r.Params["value"])
		line("what helps", "che cosa aiuta", x.Help)
		line("who helps", "chi può aiutare", x.Who)
	}
	if len(rs) > 0 {
		fmt.Fprintf(w, "\n%s\n", e.standingLine())
	}
}
