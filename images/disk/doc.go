// Package disk keeps large files from filling a file system to its end.
//
// Whoever is about to store a stranger's bytes asks Room first. A part of every
// file system stays free for what must still be written when no stranger's bytes
// fit any more: a record, a journal, a ledger. Room looks, it reserves nothing:
// several that ask at once can each be told yes, which the part kept free allows
// for.
//
// It fails closed: a file system that cannot be asked has no room. It knows
// nothing of images. Tested on the file system of the tests.
package disk
