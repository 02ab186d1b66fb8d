// Package layout is the image store: an OCI image layout on disk, and the
// assembly of images in it.
//
// It knows blobs, manifests and configs. It does not know keys, registries or
// who may see what: the caller opens one store for each tenant's folder. It runs
// no daemon; blobs are written by containerd's local content store, whose files
// are those of an OCI layout.
//
//	DIR/oci-layout  DIR/index.json  DIR/blobs/sha256/HEX   what other tools read
//	DIR/ingest/…                                           blobs on their way in
//	DIR/index.lock                                         held while index.json changes
//	DIR/checks/HEX                                         layers that passed Check
//
//	layers ─ Put, Check ─┐
//	base ─ Import ───────┴─▶ Assemble(Spec) ─▶ Image ─ Attach(bundle) ─▶ Load, Bundles
//
// Two invariants must never break: a blob appears under its name only whole and
// with that SHA-256, and one Spec gives one manifest digest, on every machine
// and however often it is assembled. Hence times are the epoch, maps are sorted,
// and a base's history, which is free text, is replaced.
//
// A blob is synced to disk, and its folder with it, before Put returns. A crash
// leaves a file in ingest/ at most; Sweep removes those. index.json changes by
// rename under a lock, so two processes may use one store. Errors wrap the
// sentinels in store.go; a full disk is whatever the system says.
//
// containerd's store writes a warning for each store on a file system without
// fs-verity, through containerd's own logger; a program that does not want it on
// its standard error sets that logger's level (github.com/containerd/log).
//
// What of a base image survives: its layers, and of its config platform, author,
// environment, user, working directory, ports, volumes, labels, stop signal. Its
// entry point and command do not: the command is the job's, whole. Members of a
// config that the OCI image specification does not know are dropped, so nothing
// unknown to policy can change what runs.
//
// Start reading at Assemble. Tested with 20 writers at once, by breaking stored
// files one at a time, and by having another library read and validate the
// layout.
package layout
