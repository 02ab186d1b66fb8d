package main

import (
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/waiting"
)

// waitingRows says why a job has not begun: none when nothing waits. A code of a
// newer broker keeps the broker's own sentences.
func (e *env) waitingRows(j wire.Job) [][]string {
	w := j.Waiting
	if w == nil {
		return nil
	}
	m := waiting.Message{Sentence: w.Sentence, Remedy: w.Remedy, Who: w.Who}
	if broker.WaitCode(w.Code).Known() {
		m = waiting.Explain(e.lang(), broker.WaitCode(w.Code), j.Site)
	}
	rows := [][]string{{"WAITS FOR", w.Code + ": " + m.Sentence}, {"WHAT HELPS", m.Remedy}, {"WHO HELPS", m.Who}}
	if w.Words != "" {
		rows = append(rows, []string{"ITS WORDS", w.Words})
	}
	if w.Since != nil {
		rows = append(rows, []string{"SINCE", stamp(w.Since)})
	}
	if text := expected(w.EstimatedStart, e.Now()); text != "" {
		rows = append(rows, []string{"EXPECTED", text})
	}
	return append(rows, e.placeRows(j.Place)...)
}

// expected says when the scheduler expects a job to begin; an estimate that has
// passed says nothing.
func expected(at *time.Time, now time.Time) string {
	if at == nil || !at.After(now) {
		return ""
	}
	return stamp(at) + ", as the site's scheduler estimates"
}

func waitingCode(j wire.Job) string {
	if j.Waiting == nil {
		return dash("")
	}
	return j.Waiting.Code
}

// waits tells what a job waits for, as the broker's notice names it.
func (v *view) waits(ev wire.Event) {
	m := waiting.Explain(v.e.lang(), broker.WaitCode(ev.Name), "")
	text := "waits: " + m.Sentence
	if ev.Text != "" {
		text += " [" + ev.Text + "]"
	}
	v.line(ev, text)
}
