package wire

// Plan is a decision that is not taken.
type Plan struct {
	Verdict            string     `json:"verdict" enum:"allow,deny,review"`
	Site               string     `json:"site,omitempty" doc:"The site that would take the job." example:"local"`
	Sites              []SitePlan `json:"sites" nullable:"false"`
	DaysLeft           int        `json:"days_left" doc:"Whole days until the permit's access period ends."`
	PermitGPUHoursLeft float64    `json:"permit_gpu_hours_left" doc:"What the permit's ceiling holds; -1 when it sets none."`
	Reviewer           string     `json:"reviewer" doc:"Who reviews the outputs."`
}

// SitePlan is what policy says of a job at one site. Where the job names a site,
// that of another is what would be said had it named none.
type SitePlan struct {
	Site          string   `json:"site" example:"local"`
	Verdict       string   `json:"verdict" enum:"allow,deny,review"`
	Reasons       []Reason `json:"reasons" nullable:"false"`
	Obligations   []string `json:"obligations" nullable:"false"`
	GPUHours      float64  `json:"gpu_hours" doc:"What the job would reserve, for each of its segments."`
	Segments      int      `json:"segments" doc:"That the job may have." example:"1"`
	GPUHoursInAll float64  `json:"gpu_hours_in_all" doc:"What all segments together may cost."`
	GPUHoursLeft  float64  `json:"gpu_hours_left" doc:"What the project's allocation there holds."`
	GPUs          int      `json:"gpus" doc:"At the site, of all types; how many are free no site says yet."`
	// Closed is set where an operator is emptying the site: no job is admitted
	// there, whatever policy says of it.
	Closed    bool           `json:"closed,omitempty"`
	Operation *SiteOperation `json:"operation,omitempty" doc:"What an operator lets happen there, and how many jobs wait; left out of a plan made without a server."`
}
