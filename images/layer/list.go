package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// entry is one thing to package; rel is its path below the folder.
type entry struct {
	rel    string
	info   fs.FileInfo
	target string // of a symbolic link
}

// lister walks a folder in the order of the layer: a folder before what is in
// it, siblings by name.
type lister struct {
	root    *os.Root
	prefix  string
	lim     Limits
	ignore  ignore
	entries []entry
	bytes   int64
	errs    Errors
}

// errEnough ends a walk that can only collect more of the same.
var errEnough = errors.New("stop listing")

// list returns what is to be packaged, or all that stands against it.
func list(ctx context.Context, root *os.Root, o Options) ([]entry, error) {
	patterns, err := readIgnore(root, o.Ignore)
	if err != nil {
		return nil, err
	}
	l := &lister{root: root, prefix: o.Prefix, lim: o.Limits, ignore: patterns}
	if err := l.dir(ctx, ".", root); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if len(l.errs) > 0 {
		return nil, l.errs
	}
	return l.entries, nil
}

func readIgnore(root *os.Root, extra []string) (ignore, error) {
	fi, err := root.Lstat(IgnoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return parseIgnore(extra, nil)
	}
	if err != nil {
		return nil, asError(err, IgnoreFile, "the file of patterns cannot be read")
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxIgnoreBytes {
		return nil, &Error{Code: CodeIgnore, Path: IgnoreFile, Rule: fmt.Sprintf("a regular file of at most %d bytes", maxIgnoreBytes), Help: "replace it with one"}
	}
	f, err := openSame(root, IgnoreFile, entry{rel: IgnoreFile, info: fi})
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes))
	if err != nil {
		return nil, asError(err, IgnoreFile, "the file of patterns cannot be read")
	}
	return parseIgnore(extra, b)
}

// add notes a refusal; enough of them end the walk.
func (l *lister) add(e *Error) error {
	l.errs = append(l.errs, e)
	if len(l.errs) >= maxErrors {
		return errEnough
	}
	return nil
}

// dir lists what is in a folder. here is that folder's own root: one step from
// it costs one system call, whereas a path from the top costs one per element.
func (l *lister) dir(ctx context.Context, rel string, here *os.Root) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("list %s: %w", quote(rel), context.Cause(ctx))
	}
	names, err := l.names(rel, here)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := l.one(ctx, path.Join(rel, name), name, here); err != nil {
			return err
		}
	}
	return nil
}

// names lists a folder, never holding more names than entries are allowed.
func (l *lister) names(rel string, here *os.Root) ([]string, error) {
	f, err := here.Open(".")
	if err != nil {
		return nil, l.add(asError(err, rel, "the folder cannot be read"))
	}
	defer f.Close() //nolint:errcheck // read only
	var names []string
	for {
		batch, err := f.Readdirnames(1024)
		names = append(names, batch...)
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, l.add(asError(err, rel, "the folder cannot be read"))
		}
		if len(names) > 4*l.lim.Entries {
			return nil, errors.Join(l.add(l.tooMany(rel)), errEnough)
		}
	}
}

func (l *lister) tooMany(rel string) *Error {
	return &Error{
		Code: CodeLimit, Path: quote(rel), Rule: fmt.Sprintf("at most %d files, folders and links in a layer", l.lim.Entries),
		Help: "leave folders out in " + IgnoreFile + ", or package them as an archive file",
	}
}

// one judges one path and, for a folder, what is in it.
func (l *lister) one(ctx context.Context, rel, name string, here *os.Root) error {
	fi, err := here.Lstat(name)
	if err != nil {
		return l.add(asError(err, rel, "it cannot be read"))
	}
	if rel == IgnoreFile || l.ignore.match(rel, fi.IsDir()) {
		return nil
	}
	if e := checkName(path.Join(l.prefix, rel), l.lim); e != nil {
		return l.add(e)
	}
	if rule := secretName(rel, fi.IsDir()); rule != "" {
		return l.add(secretError(rel, rule))
	}
	if len(l.entries) >= l.lim.Entries {
		return errors.Join(l.add(l.tooMany(rel)), errEnough)
	}
	e := entry{rel: rel, info: fi}
	switch mode := fi.Mode(); {
	case mode.IsDir():
		l.entries = append(l.entries, e)
		return l.descend(ctx, rel, name, here)
	case mode.IsRegular():
		if refusal := l.regular(e, name, here); refusal != nil {
			return l.add(refusal)
		}
	case mode&fs.ModeSymlink != 0:
		refusal := l.link(&e)
		if refusal != nil {
			return l.add(refusal)
		}
	default:
		return l.add(&Error{
			Code: CodeType, Path: quote(rel), Rule: "a " + typeName(mode) + " is not packaged; a layer holds files, folders and links",
			Help: "remove it, or leave it out in " + IgnoreFile,
		})
	}
	l.entries = append(l.entries, e)
	return nil
}

func (l *lister) descend(ctx context.Context, rel, name string, here *os.Root) error {
	sub, err := here.OpenRoot(name)
	if err != nil {
		return l.add(asError(err, rel, "the folder cannot be read"))
	}
	defer sub.Close() //nolint:errcheck // read only
	return l.dir(ctx, rel, sub)
}

func (l *lister) regular(e entry, name string, here *os.Root) *Error {
	l.bytes += e.info.Size()
	switch {
	case e.info.Size() > l.lim.FileBytes:
		return &Error{
			Code: CodeLimit, Path: quote(e.rel), Rule: fmt.Sprintf("a file has at most %d bytes, not %d", l.lim.FileBytes, e.info.Size()),
			Help: "split it, or offer it as a dataset of the site",
		}
	case l.bytes > l.lim.RawBytes:
		return &Error{
			Code: CodeLimit, Path: quote(e.rel), Rule: fmt.Sprintf("a layer has at most %d bytes", l.lim.RawBytes),
			Help: "leave files out in " + IgnoreFile + ", or split the layer",
		}
	case !mayHoldKey(e.rel):
		return nil
	}
	f, err := openSame(here, name, e)
	if err != nil {
		return asError(err, e.rel, "it cannot be read")
	}
	defer f.Close() //nolint:errcheck // read only
	head, err := io.ReadAll(io.LimitReader(f, secretHead))
	if err != nil {
		return asError(err, e.rel, "it cannot be read")
	}
	if holdsKey(head) {
		return secretError(e.rel, "a private key does not belong in an image")
	}
	return nil
}

// link reads a symbolic link and refuses it unless both its text and what it
// leads to today stay inside the folder; the text alone is not enough, since
// "a/b/.." may lead elsewhere when b is a link. A dangling link is kept.
func (l *lister) link(e *entry) *Error {
	target, err := l.root.Readlink(e.rel)
	if err != nil {
		return asError(err, e.rel, "the link cannot be read")
	}
	if refusal := checkLink(e.rel, target, l.lim); refusal != nil {
		return refusal
	}
	if _, err := l.root.Stat(e.rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &Error{
			Code: CodeLink, Path: quote(e.rel) + " -> " + quote(target), Rule: "a link leads to something inside the folder",
			Help: "replace the link with a copy, or leave it out in " + IgnoreFile, Err: err,
		}
	}
	e.target = target
	return nil
}

func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return strings.TrimSpace("special file " + m.Type().String())
}
