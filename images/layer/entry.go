package layer

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The only modes in a layer.
const (
	modeDir     = 0o755
	modeProgram = 0o755
	modeFile    = 0o644
	modeLink    = 0o777
)

const (
	maxElement     = 255 // bytes in one path element, the kernel's NAME_MAX
	whiteoutPrefix = ".wh."
)

// quote shows a path on one line, whatever it holds.
func quote(p string) string {
	if q := strconv.QuoteToGraphic(p); q[1:len(q)-1] != p || p == "" {
		return q
	}
	return p
}

// checkName refuses a path that no layer may hold. It is the rule of Cut and of
// Check alike.
func checkName(name string, lim Limits) *Error {
	refuse := func(rule string) *Error {
		return &Error{Code: CodeName, Path: quote(name), Rule: rule, Help: "rename it, or leave it out in .valicoignore"}
	}
	switch {
	case !fs.ValidPath(name) || name == ".":
		return refuse("a path in a layer is relative, in UTF-8 and without empty, \".\" or \"..\" elements")
	case len(name) > lim.PathBytes:
		return &Error{
			Code: CodeLimit, Path: quote(name), Rule: fmt.Sprintf("a path has at most %d bytes", lim.PathBytes),
			Help: "shorten it, or leave it out in .valicoignore",
		}
	case strings.Count(name, "/") >= lim.Depth:
		return &Error{
			Code: CodeLimit, Path: quote(name), Rule: fmt.Sprintf("a path has at most %d elements", lim.Depth),
			Help: "move it up, or leave it out in .valicoignore",
		}
	}
	if rule := oddText(name); rule != "" {
		return refuse(rule)
	}
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > maxElement {
			return refuse(fmt.Sprintf("one name has at most %d bytes", maxElement))
		}
		if strings.HasPrefix(element, whiteoutPrefix) {
			return refuse("a name that begins with .wh. would delete files of lower layers")
		}
	}
	return nil
}

// oddText names the rule that a name or link target breaks by its characters.
func oddText(s string) string {
	if !utf8.ValidString(s) {
		return "a name is in UTF-8"
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) || r == utf8.RuneError {
			return "a name holds no control, format or private characters"
		}
	}
	return ""
}

// checkLink refuses a symbolic link whose target, read as text, leaves the
// folder named root ("." for the whole image).
func checkLink(name, target string, lim Limits) *Error {
	refuse := func(rule string) *Error {
		return &Error{
			Code: CodeLink, Path: quote(name) + " -> " + quote(target), Rule: rule,
			Help: "replace the link with a copy, make it relative and inside the folder, or leave it out in .valicoignore",
		}
	}
	switch {
	case target == "" || len(target) > lim.PathBytes:
		return refuse(fmt.Sprintf("a link's target has 1 to %d bytes", lim.PathBytes))
	case path.IsAbs(target):
		return refuse("a link is relative")
	case oddText(target) != "":
		return refuse(oddText(target))
	case !fs.ValidPath(path.Join(path.Dir(name), target)):
		return refuse("a link stays inside the folder")
	}
	return nil
}

// header is the normal form of one entry; name is as in the image.
func header(name string, m fs.FileMode, size int64, target string) *tar.Header {
	h := &tar.Header{Name: name, ModTime: epoch()}
	switch {
	case m.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, name+"/", modeDir
	case m&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, target, modeLink
	default:
		h.Typeflag, h.Size, h.Mode = tar.TypeReg, size, modeFile
		if m&0o111 != 0 {
			h.Mode = modeProgram
		}
	}
	return h
}
