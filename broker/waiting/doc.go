// Package waiting holds the sentences for people whose job has not begun: what
// it waits for, what helps and who can help, by broker.WaitCode and language.
//
// It knows codes, never a job, a scheduler or a store. Policy's reasons have
// their own catalogue, policy/messages: what stands here is no decision and may
// change by the minute. The same catalogue says why a site takes no job
// although policy would admit it there.
//
// Two things must never break: every code has a sentence, a remedy and somebody
// who helps in every language, and no sentence promises a time. A code that is
// not known, as of a newer broker, is explained as WaitUnknown.
//
// Start reading at waiting.go, then en.yaml. The test walks all codes in all
// languages.
package waiting
