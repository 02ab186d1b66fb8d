package layer

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// IgnoreFile is the name of the file, at the top of a folder, whose patterns
// leave files out.
const IgnoreFile = ".valicoignore"

const (
	maxIgnoreBytes = 64 << 10
	maxPatterns    = 1000
)

// pattern is one line of an ignore file.
type pattern struct {
	elements []string // "**" stands for any number of elements
	negate   bool
	dirOnly  bool
}

type ignore []pattern

// parseIgnore reads patterns, refusing those that cannot match.
func parseIgnore(extra []string, file []byte) (ignore, error) {
	var ig ignore
	for i, line := range extra {
		p, ok, err := parsePattern(line)
		if err != nil {
			return nil, &Error{Code: CodeIgnore, Path: quote(line), Rule: fmt.Sprintf("pattern %d of the options is malformed", i+1), Help: "see the pattern syntax", Err: err}
		}
		if ok {
			ig = append(ig, p)
		}
	}
	sc := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(file, []byte("\ufeff"))))
	for n := 1; sc.Scan(); n++ {
		p, ok, err := parsePattern(sc.Text())
		if err != nil {
			return nil, &Error{Code: CodeIgnore, Path: fmt.Sprintf("%s:%d", IgnoreFile, n), Rule: "the pattern is malformed", Help: "see the pattern syntax: * ? [a-z] ** and a leading !", Err: err}
		}
		if ok {
			ig = append(ig, p)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, &Error{Code: CodeIgnore, Path: IgnoreFile, Rule: "a line is too long", Help: "shorten it", Err: err}
	}
	if len(ig) > maxPatterns {
		return nil, &Error{Code: CodeIgnore, Path: IgnoreFile, Rule: fmt.Sprintf("at most %d patterns", maxPatterns), Help: "ignore folders instead of files"}
	}
	return ig, nil
}

func parsePattern(line string) (pattern, bool, error) {
	line = strings.TrimRight(line, " \t\r")
	if line == "" || strings.HasPrefix(line, "#") {
		return pattern{}, false, nil
	}
	var p pattern
	line, p.negate = strings.CutPrefix(line, "!")
	line, p.dirOnly = strings.CutSuffix(line, "/")
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return pattern{}, false, fmt.Errorf("%w: nothing but slashes", path.ErrBadPattern)
	}
	// path.Match spells a negated class [^…] and takes \# and \! as written.
	p.elements = strings.Split(strings.ReplaceAll(line, "[!", "[^"), "/")
	if !anchored {
		p.elements = append([]string{"**"}, p.elements...)
	}
	stars := 0
	for _, e := range p.elements {
		if e == "**" {
			stars++
			continue
		}
		if _, err := path.Match(e, ""); err != nil || e == "" {
			return pattern{}, false, fmt.Errorf("%w: %q", path.ErrBadPattern, e)
		}
	}
	if stars > 4 {
		return pattern{}, false, fmt.Errorf("%w: more than four **", path.ErrBadPattern)
	}
	return p, true, nil
}

// match reports whether a path is left out; the last match decides.
func (ig ignore) match(name string, dir bool) bool {
	elements := strings.Split(name, "/")
	for _, p := range slices.Backward(ig) {
		if p.dirOnly && !dir {
			continue
		}
		if matchElements(p.elements, elements) {
			return !p.negate
		}
	}
	return false
}

func matchElements(pat, name []string) bool {
	for len(pat) > 0 {
		if pat[0] == "**" {
			if len(pat) == 1 { // everything below, not the folder itself
				return len(name) > 0
			}
			for i := range len(name) {
				if matchElements(pat[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pat[0], name[0]); err != nil || !ok {
			return false
		}
		pat, name = pat[1:], name[1:]
	}
	return len(name) == 0
}
