// Package layer cuts one folder into one OCI image layer, and checks a layer
// that somebody else cut.
//
// It knows files, tar and compression. It does not know images, registries,
// signatures or where a layer is kept, and reaches no network code.
//
//	folder ── list (rules, .valicoignore) ── tar (normalised) ──┬─ sha256 ─▶ DiffID
//	                                                            └─ zstd ──┬─ sha256 ─▶ Digest
//	                                                                      └─▶ dst
//	blob ── Check: sha256, decompress, sha256, the same rules for each entry
//
// The same tree gives the same bytes on every machine: names are sorted, files
// belong to 0:0, times are the epoch, modes are 0755 for folders and programs,
// 0644 for other files. The compressor's version, level and window are inputs of
// Digest; DiffID does not depend on them.
//
// What a hostile or careless folder meets:
//
//	symbolic link      kept if it stays inside the folder, else refused; never followed
//	hard link          each name is stored as a file of its own
//	device, socket,    refused
//	named pipe
//	setuid, setgid,    dropped with the rest of the mode
//	sticky, xattrs
//	changing file      refused: size, time and identity are compared before and after reading
//	odd name           control or format characters, invalid UTF-8, over-long: refused
//	whiteout name      a name that begins with ".wh." would delete files of lower layers: refused
//	secret             key files, credential files and repositories: refused by name, and
//	                   *.pem and *.key files by content, unless ignored
//	too much           entries, bytes and path lengths are bounded by Limits
//
// Two invariants must never break: Cut reads nothing outside the folder it was
// given, whatever is renamed meanwhile (every open goes through os.Root), and
// Check passes nothing that Cut could not have written. A refusal is an *Error
// that names the path, the rule and what helps; Cut reports up to 20 at once as
// Errors. After any error the bytes written to dst are worthless.
//
// # .valicoignore
//
// A file of that name at the top of the folder leaves files out. It is a subset
// of .gitignore: one pattern a line; blank lines and lines that begin with # say
// nothing; a leading ! takes a file back in; a trailing / matches folders only;
// a pattern with a / at its beginning or middle is anchored at the top, any
// other matches at every depth; * and ? do not match /, [a-z] is a class, and **
// stands for any number of path elements. The last pattern that matches decides.
// A file cannot be taken back in when a folder above it is left out. The file
// itself is never packaged.
//
// Start reading at Cut, then entry.go for the rules. Tested over a table of
// hostile trees, by a property (what is cut passes Check and comes out the
// same), by fuzzing Check, and by BenchmarkPackage against bare tar, zstd and
// sha256 of the same tree.
package layer
