package broker

// QueuePlace is a job's place among those that wait for their turn at a site. It
// says nothing of whose the others are.
type QueuePlace struct {
	Job         JobID
	Attempt     AttemptID
	Site        SiteID
	Class       string // of priority
	Position    int    // from 1
	Of          int    // how many wait at the site
	Before      string // why the one ahead comes first, as package queue says
	SameProject bool   // the one ahead is of the same project
	SiteFull    bool   // the site takes no more now: as many wait there as it takes, or it is closed
}
