package wire

import "time"

// Bases of a report's lines.
const (
	BasisMeasured    = "measured"     // looked at for this report
	BasisRecorded    = "recorded"     // as an operator gave it to the broker; nobody looked
	BasisDesign      = "by_design"    // so is the program; its tests hold it to that
	BasisNotMeasured = "not_measured" // Text says why
)

// SiteReport is one page about a site: what Valico can do there, as whom, and how
// to cut it off.
type SiteReport struct {
	Site     string          `json:"site"`
	Version  string          `json:"version" doc:"Of the broker."`
	At       time.Time       `json:"at"`
	Sections []ReportSection `json:"sections" nullable:"false"`
}

// ReportSection is one part of the page.
type ReportSection struct {
	Title string       `json:"title"`
	Lines []ReportLine `json:"lines" nullable:"false"`
}

// ReportLine is one statement and what it rests on.
type ReportLine struct {
	Name  string `json:"name" example:"runs_as"`
	Basis string `json:"basis" enum:"measured,recorded,by_design,not_measured"`
	OK    bool   `json:"ok" doc:"False for what a site operator should look at."`
	Text  string `json:"text"`
}
