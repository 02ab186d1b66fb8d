// Package unpack turns a stored image into a folder on a compute node and
// proves on the way that it is the image that was signed.
//
// It knows a manifest, a config and how to open blobs. It does not know keys,
// registries or sandboxes and reaches no network code. The caller has verified
// the manifest's digest; everything below hangs on that one digest.
//
//	manifest ─ sha256 ─▶ config ─ diff ids ─┐
//	    └──── layer digests ─┐              │
//	open(digest) ─ sha256 ───┴─ decompress ─┴ sha256 ─ tar ─ os.Root(dir)
//
// Each layer is read once: hashed packed, decompressed, hashed again and
// extracted in the same pass. So files are on disk before the layer is proven,
// and after any error the folder is worthless and must be removed by the caller,
// whatever is in it.
//
// Two invariants must never break: Unpack returns nil only if config, every
// layer and every diff id are the manifest's, and nothing is ever created,
// changed or removed outside dir, whatever names, links and whiteouts a layer
// holds. Every access goes through os.Root.
//
// What comes out: files and folders of the calling account, times of files kept,
// modes without setuid, setgid and sticky bits, and always readable (folders also
// writable) for their owner, so that the tree can be removed again. Extended
// attributes are dropped, file capabilities with them. Devices, pipes and sparse
// files are refused. Links keep any target, since they are resolved inside the
// image later: whoever mounts over this tree must not follow them. A layer whose
// paths go through an absolute link is refused.
//
// Errors wrap ErrTampered (with what, wanted and found in a *TamperedError),
// ErrMalformed, ErrRefused or ErrLimit; others are the system's. A layer that does
// not decompress or parse is tampered with if its digest is wrong, and malformed
// only if it was signed like that.
//
// Start reading at Unpack, then extract.go. Tested by changing one byte at a
// time, over a table of hostile tars with a watched folder outside, and by
// fuzzing the tar.
package unpack
