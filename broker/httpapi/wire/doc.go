// Package wire holds what travels between the broker and its clients: the JSON
// forms of the nouns and of errors, and the functions that turn nouns into
// them and back.
//
// It may not know routes, stores or decisions; both sides import it, so it
// reaches neither. Field names are the API: changing one is a new version.
//
//	broker noun ──New…──▶ DTO ──JSON──▶ DTO ──.Noun()──▶ broker noun
//	error ──ProblemOf──▶ Problem ──JSON──▶ Problem ──.Err()──▶ *broker.Error
//
// Two invariants must never break: an error's cause never enters a Problem, and
// a job spec survives the journey whole, field by field.
//
// Start at problem.go, then job.go. Tests are round trips.
package wire
