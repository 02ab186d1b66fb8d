// Command valico is the one binary of Valico: what a person, an operator and a
// permit authority type, and the broker itself.
//
// Here are flags, wiring, words and exit codes; no rule of the domain. Each verb
// is a file of its name with a constructor, options and a run function:
//
//	main ─▶ run(ctx, env, args) ─▶ cobra ─▶ runX(ctx, env, opts) ─▶ package client
//	error ─▶ one switch over its kind ─▶ exit code, text or problem on stderr
//
// Two invariants must never break: data goes to stdout and talk to stderr, with
// nothing on stdout when a command fails before it has data; and a token is
// printed by token new alone.
//
// Start at main.go and root.go. Tests run the real commands in this process:
// testdata/script holds one story per file.
package main
