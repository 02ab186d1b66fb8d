// Package demo is the story that a newcomer sees: a synthetic screening cohort,
// a SANDBOX permit, a trainer that really trains, and the attacks that are
// refused. It uses the program as a person would, by its commands, and looks
// at what they did.
//
// Start at story.go. The integration test of cmd/valico runs the whole story
// and reads its JSON.
package demo
