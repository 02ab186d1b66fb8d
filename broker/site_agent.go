package broker

import "time"

// AlertID names one alert of a site's agent.
type AlertID string

// SiteAgent is what a remote site's agent says of itself.
type SiteAgent struct {
	Version     string
	StartedAt   time.Time
	Trust       Digest // of the trust file that the site pinned
	Packs       Digest // of the policy packs that the site pinned; "" when it has none
	Scheduler   string // "slurm", "nomad" or "local"
	SchedulerOK bool   // it answered the last time that it was asked
	Attempts    int    // that are not over
	DiskUsed    int64  // bytes below the agent's folder
	DiskFree    int64  // bytes that the file system of the folder still takes
	DiskBound   int64  // bytes below the folder at most; 0 for no bound
	Alerts      int    // not yet acknowledged
	At          time.Time
}

// SiteAlert is something that a site's agent refused and that a person should
// look at: somebody asked the agent for what no broker asks.
type SiteAlert struct {
	ID      AlertID
	Site    SiteID
	Code    string // of the refusal
	Method  string // what was asked for, "" when that could not be read
	Attempt AttemptID
	Key     string // the key id that the request named; proven only if the signature held
	Detail  string // for the operators of broker and site
	Count   int64  // times that this was refused between First and Last
	First   time.Time
	Last    time.Time
}
