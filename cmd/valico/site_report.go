package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func runSiteReport(ctx context.Context, name string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	r, err := c.ReportSite(ctx, name)
	if err != nil {
		return err
	}
	return e.emit(r, func(w io.Writer) { printReport(w, r) })
}

// reportWidth fits a printed page.
const reportWidth = 96

// printReport writes the page: each line with what it rests on.
func printReport(w io.Writer, r wire.SiteReport) {
	fmt.Fprintf(w, "Valico at %s: what it can do here, as whom, and how to cut it off\n", clean(r.Site))
	fmt.Fprintf(w, "broker %s, %s\n", clean(r.Version), stamp(&r.At))
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n%s\n", clean(strings.ToUpper(s.Title)))
		for _, l := range s.Lines {
			mark := " "
			if !l.OK {
				mark = "!"
			}
			head := fmt.Sprintf("%s %-13s %-18s ", mark, strings.ReplaceAll(l.Basis, "_", " "), clean(l.Name))
			for _, text := range wrapped(clean(l.Text), reportWidth-len(head)) {
				fmt.Fprintln(w, strings.TrimRight(head+text, " "))
				head = strings.Repeat(" ", len(head))
			}
		}
	}
}

// wrapped cuts a text into lines between words; a word that is longer stays whole.
func wrapped(text string, width int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}
