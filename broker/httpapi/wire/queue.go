package wire

import (
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/queue"
)

// QueuePlace is a job's place among those that wait for their turn at a site.
// Whose the others are it does not say.
type QueuePlace struct {
	Job         string `json:"job" example:"job_0123456789abcdefghjkmnpqrs"`
	Site        string `json:"site" example:"leonardo"`
	Priority    string `json:"priority" doc:"Its class." example:"standard"`
	Position    int    `json:"position" doc:"From 1." example:"3"`
	Of          int    `json:"of" doc:"How many wait at the site." example:"12"`
	Before      string `json:"before" enum:"first,tenant_less,project_less,class_heavier,submitted_first" example:"submitted_first" doc:"Why the one ahead comes first."`
	SameProject bool   `json:"same_project" doc:"The one ahead is of the same project."`
	SiteFull    bool   `json:"site_full" doc:"The site takes no more now: as many wait at its scheduler as it takes, or an operator closed it."`
	Sentence    string `json:"sentence" doc:"Before in words; clients have those of other languages." example:"The one ahead was submitted earlier."`
}

// Queue lists a project's jobs that wait for their turn, site by site.
type Queue struct {
	Places []QueuePlace `json:"places" nullable:"false"`
}

// NewQueuePlace gives a place as it travels; site is the site's name.
func NewQueuePlace(p broker.QueuePlace, site string) QueuePlace {
	return QueuePlace{
		Job: string(p.Job), Site: site, Priority: p.Class, Position: p.Position, Of: p.Of, Before: p.Before,
		SameProject: p.SameProject, SiteFull: p.SiteFull, Sentence: queue.Words("en", queue.Before(p.Before), p.SameProject),
	}
}
