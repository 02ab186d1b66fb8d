package jobspec

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
)

// MaxFileBytes bounds job.yaml.
const MaxFileBytes = 256 << 10

// ParseYAML reads job.yaml strictly: one document, no unknown or repeated key,
// no anchors, no tags. The error is an *Error with every fault found.
func ParseYAML(b []byte) (File, error) {
	f := defaults()
	whole := func(rule, value string) (File, error) {
		return File{}, problems([]Problem{{Path: "job.yaml", Rule: rule, Value: cut(value), Help: "see an example with: valico submit --help"}})
	}
	if len(b) > MaxFileBytes {
		return whole("has at most 256 KiB", "")
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return whole("describes a job", "nothing")
		}
		return whole("is YAML", err.Error())
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return whole("holds one document", "more than one")
	}
	r := &reader{told: map[string]bool{}, lines: lines{}}
	r.file(doc.Content[0], &f)
	if r.told[section("")] {
		return File{}, problems(r.found)
	}
	for _, p := range f.check() {
		if !r.knows(p.Path) {
			p.Line = r.lines.find(p.Path)
			r.found = append(r.found, p)
		}
	}
	if len(r.found) > 0 {
		return File{}, problems(r.found)
	}
	return f, nil
}

// lines remembers where each path was read.
type lines map[string]int

// find gives the line of a path or of the nearest path above it that was read.
func (l lines) find(path string) int {
	for path != "" {
		if n := l[path]; n > 0 {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// reader walks the nodes of job.yaml.
type reader struct {
	found []Problem
	told  map[string]bool
	lines lines
}

func (r *reader) add(n *yaml.Node, path, rule, value, help string) {
	r.told[section(path)] = true
	r.found = append(r.found, Problem{Path: section(path), Line: n.Line, Rule: rule, Value: cut(value), Help: help})
}

// knows reports whether a fault at path or above it was told.
func (r *reader) knows(path string) bool {
	for path != "" {
		if r.told[path] {
			return true
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return false
}

// fields maps a key to what reads its value.
type fields map[string]func(n *yaml.Node, path string)

func (r *reader) file(n *yaml.Node, f *File) {
	r.mapping(n, "", fields{
		"name": r.text(&f.Name),
		"permit": func(n *yaml.Node, path string) {
			f.Permit = broker.PermitID(r.scalar(n, path))
		},
		"purpose":  func(n *yaml.Node, path string) { f.Purpose = purpose(r.scalar(n, path)) },
		"activity": r.text(&f.Activity),
		"datasets": r.list(func(n *yaml.Node, path string) {
			var d broker.DatasetUse
			r.mapping(n, path, fields{"id": r.text(&d.PURI), "version": r.text(&d.Version), "mount": r.text(&d.Mount)})
			f.Datasets = append(f.Datasets, d)
		}),
		"site":      r.text(&f.Site),
		"priority":  r.text(&f.Priority),
		"image":     func(n *yaml.Node, path string) { r.image(n, path, &f.Image) },
		"resources": func(n *yaml.Node, path string) { r.resources(n, path, &f.Resources) },
		"network":   r.text(&f.Network),
		"telemetry": r.text(&f.Telemetry),
		"outputs": r.list(func(n *yaml.Node, path string) {
			var o broker.OutputSpec
			r.mapping(n, path, fields{"path": r.text(&o.Path), "type": r.text(&o.Type)})
			f.Outputs = append(f.Outputs, o)
		}),
		"resume": func(n *yaml.Node, path string) { r.resume(n, path, &f.Resume) },
	})
}

func (r *reader) image(n *yaml.Node, path string, m *FileImage) {
	r.mapping(n, path, fields{
		"base": r.text(&m.Base), "context": r.text(&m.Context), "workdir": r.text(&m.WorkDir), "user": r.text(&m.User),
		"command": r.list(func(n *yaml.Node, path string) { m.Command = append(m.Command, r.scalar(n, path)) }),
		"env": func(n *yaml.Node, path string) {
			r.pairs(n, path, func(k, v *yaml.Node, path string) {
				m.Env = append(m.Env, broker.EnvVar{Name: k.Value, Value: r.scalar(v, path)})
			})
		},
	})
}

func (r *reader) resources(n *yaml.Node, path string, res *broker.Resources) {
	r.mapping(n, path, fields{
		"nodes": r.number(&res.Nodes), "gpus": r.number(&res.GPUsPerNode), "cpus": r.number(&res.CPUsPerNode),
		"gpu_type": r.text(&res.GPUType),
		"memory": func(n *yaml.Node, path string) {
			s := r.scalar(n, path)
			mib, ok := memory(s)
			if !ok && !r.told[path] {
				r.add(n, path, "is a whole number of MiB, GiB or TiB", s, `for example "512MiB" or "64GiB"`)
			}
			res.MemoryMiB = mib
		},
		"walltime": r.length(&res.Walltime),
	})
}

// resume begins with the signal that most tools take.
func (r *reader) resume(n *yaml.Node, path string, res *broker.Resume) {
	res.Signal = defaultSignal
	r.mapping(n, path, fields{
		"signal": r.text(&res.Signal), "before": r.length(&res.Before), "max_segments": r.number(&res.MaxSegments),
	})
}

func (r *reader) length(to *time.Duration) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		s := r.scalar(n, path)
		d, ok := walltime(s)
		if !ok && !r.told[path] {
			r.add(n, path, "is a length of time with its unit", s, `for example "10m", "1h30m" or "2d"`)
		}
		*to = d
	}
}

// mapping reads the keys of one section and tells those that it does not know.
func (r *reader) mapping(n *yaml.Node, path string, fs fields) {
	r.pairs(n, path, func(k, v *yaml.Node, at string) {
		if read, ok := fs[k.Value]; ok {
			read(v, at)
			return
		}
		r.add(k, at, "is not a key of "+section(path), k.Value, suggest(k.Value, fs))
	})
}

// pairs calls each for every key and value of a mapping, once a key.
func (r *reader) pairs(n *yaml.Node, path string, each func(k, v *yaml.Node, path string)) {
	if !r.plain(n, path, yaml.MappingNode, "is a section of keys and values") {
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(path, k.Value)
		r.lines[at] = k.Line
		switch {
		case k.Kind != yaml.ScalarNode || k.Tag != "!!str" || k.Anchor != "":
			r.add(k, at, "a key is a plain word", k.Value, "")
		case seen[k.Value]:
			r.add(k, at, "each key is given once", k.Value, "remove one of them")
		default:
			seen[k.Value] = true
			each(k, v, at)
		}
	}
}

func (r *reader) list(each func(n *yaml.Node, path string)) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !r.plain(n, path, yaml.SequenceNode, "is a list") {
			return
		}
		for i, item := range n.Content {
			at := path + "[" + strconv.Itoa(i) + "]"
			r.lines[at] = item.Line
			each(item, at)
		}
	}
}

func (r *reader) text(to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) { *to = r.scalar(n, path) }
}

func (r *reader) number(to *int) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		s := r.scalar(n, path)
		v, err := strconv.Atoi(s)
		if err != nil && !r.told[path] {
			r.add(n, path, "is a whole number", s, "")
		}
		*to = v
	}
}

// scalar is the text of a value as it was written: 1.10 stays "1.10".
func (r *reader) scalar(n *yaml.Node, path string) string {
	if !r.plain(n, path, yaml.ScalarNode, "is one value") {
		return ""
	}
	if n.Tag == "!!null" {
		r.add(n, path, "is given, or its key is left out", "nothing", "")
		return ""
	}
	return n.Value
}

// plain tells a node of another kind, an alias, an anchor or an explicit tag:
// a job file says what it means where it says it.
func (r *reader) plain(n *yaml.Node, path string, kind yaml.Kind, rule string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.add(n, path, "uses no anchors or aliases", n.Value, "write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		r.add(n, path, "uses no tags", n.Tag, "")
	case n.Kind != kind:
		r.add(n, path, rule, n.Value, "")
	default:
		return true
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func section(path string) string {
	if path == "" {
		return "job.yaml"
	}
	return path
}

// suggest names the keys of a section, or the one that was meant.
func suggest(key string, fs fields) string {
	names := make([]string, 0, len(fs))
	for name := range fs {
		names = append(names, name)
	}
	return hint(key, names)
}
