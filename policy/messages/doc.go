// Package messages holds the texts of policy's reasons, by code and language:
// what is wrong with the caller's value in it, what helps, who can help and
// which article or contract says so.
//
// It knows codes and parameters, never an input or a decision. Rules carry
// codes only, so that a better wording never changes the digest of the packs.
//
// Two things must never break: every code that a rule can give has a text with
// the same slots in every language, and no text claims that Chapter IV of
// Regulation (EU) 2025/327 is law before 26 March 2029, or that a check of a job
// decides on a permit. Explain says so where it knows no text; a caller then
// shows the code. A slot without a parameter is shown as a dash.
//
// Italian uses the terms of the Official Journal, as in "autorizzazione ai
// dati" and "ambiente di trattamento sicuro".
//
// Start reading at messages.go, then en.yaml. The tests compare the catalogues
// with the codes and parameters that the packs give.
package messages
