// Package schema generates what the policy packs are checked with: the JSON
// schema of policy.Input, which is the packs' contract with the broker, and the
// capabilities file that lists the only built-in functions a rule may call.
//
// It is used by go generate and by tests and is linked into no program. The
// files are committed; a test here generates them anew and compares. A change
// of policy.Input therefore shows as a change of input.schema.json, and an
// upgrade of the engine as a change of capabilities.json.
package schema
