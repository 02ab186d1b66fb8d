package jobspec

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valico-hpc/valico/broker"
)

// Bounds that keep every product of resources within an int64; a site's own
// bounds are far below and policy's to hold.
const (
	maxNodes    = 100_000
	maxGPUs     = 1_024
	maxCPUs     = 65_536
	maxMemory   = 1 << 30 // MiB
	maxWalltime = 366 * 24 * time.Hour
	maxText     = 4_096
	maxList     = 1_024
)

// checker collects problems.
type checker struct{ found []Problem }

func (c *checker) add(path, rule, value, help string) {
	c.found = append(c.found, Problem{Path: path, Rule: rule, Value: cut(value), Help: help})
}

func (c *checker) is(ok bool, path, rule, value, help string) {
	if !ok {
		c.add(path, rule, value, help)
	}
}

// cut keeps a reported value short enough to read.
func cut(s string) string {
	if len(s) <= 120 {
		return s
	}
	return strings.ToValidUTF8(s[:117], "") + "…"
}

// Check lists what keeps a spec from being a job at all: faults of form, never
// of what is allowed.
func Check(s broker.JobSpec) []Problem {
	c := &checker{}
	c.is(label(s.Name), "name", "a name has 1 to 100 printable characters", s.Name, "")
	c.is(identifier(string(s.Permit), 200), "permit", "names a permit by its id", string(s.Permit), "see: valico permit list")
	c.purpose(s.Purpose)
	c.is(word(s.Activity), "activity", "is one word of a–z and _", s.Activity, "train, fine_tune, evaluate or inference_internal")
	c.is(s.Site == "" || identifier(s.Site, 100), "site", "names a site, or is left out", s.Site, "see: valico site list")
	c.is(s.Priority == "" || element(s.Priority), "priority", "is a class of priority, or left out", s.Priority,
		"for example background or standard; policy says which there are")
	c.datasets(s.Datasets)
	c.image(s.Image)
	c.resources(s.Resources)
	c.oneOf("network", s.Network, "none", "job")
	c.oneOf("telemetry", s.Telemetry, "sealed", "metrics", "full")
	c.outputs(s.Outputs)
	c.resume(s.Resume, s.Resources.Walltime)
	return c.found
}

func (c *checker) oneOf(path, value string, allowed ...string) {
	c.is(slices.Contains(allowed, value), path, "is one of "+strings.Join(allowed, ", "), value, "")
}

func (c *checker) purpose(p broker.Purpose) {
	letter, ok := strings.CutPrefix(p.Code, "53(1)(")
	ok = ok && len(letter) == 2 && letter[0] >= 'a' && letter[0] <= 'z' && letter[1] == ')'
	ok = ok && (p.Sub == "" || p.Sub == "i" || p.Sub == "ii")
	c.is(ok, "purpose", "cites a purpose of Regulation (EU) 2025/327 Article 53(1)", p.String(),
		`for example "53(1)(e)(ii)": training, testing and evaluation of algorithms`)
}

func (c *checker) datasets(ds []broker.DatasetUse) {
	c.is(len(ds) <= maxList, "datasets", "a job has at most 1024 datasets", strconv.Itoa(len(ds)), "")
	mounts, ids := map[string]bool{}, map[string]bool{}
	for i, d := range ds {
		at := fmt.Sprintf("datasets[%d]", i)
		c.is(uri(d.PURI), at+".id", "is the dataset's persistent URI", d.PURI, "copy it from the permit")
		c.is(!ids[d.PURI], at+".id", "each dataset is named once", d.PURI, "")
		c.is(d.Version == "" || identifier(d.Version, 100), at+".version", "is a version, or left out", d.Version, "")
		c.is(element(d.Mount), at+".mount", "is one folder name: a–z, A–Z, 0–9, dot, dash, underscore; it appears below /data", d.Mount, "")
		c.is(!mounts[d.Mount], at+".mount", "each mount has its own name", d.Mount, "")
		ids[d.PURI], mounts[d.Mount] = true, true
	}
}

func (c *checker) image(m broker.ImageSpec) {
	c.is(m.Base == "none" || broker.Digest(m.Base).Valid(), "image.base", `is "none" or the digest of an image manifest`, m.Base,
		"name images by digest; a tag may move")
	c.is(len(m.Layers) <= 100, "image.layers", "an image has at most 100 layers of its own", strconv.Itoa(len(m.Layers)), "")
	for i, l := range m.Layers {
		at := fmt.Sprintf("image.layers[%d]", i)
		c.oneOf(at+".class", l.Class, "dependencies", "data", "source")
		c.is(strings.HasPrefix(l.MediaType, "application/vnd.oci.image.layer.v1.tar") && identifier(l.MediaType, 200),
			at+".media_type", "is a media type of OCI layers", l.MediaType, "")
		c.is(l.Digest.Valid(), at+".digest", "is sha256: and 64 lower-case hexadecimal digits", string(l.Digest), "")
		c.is(l.DiffID.Valid(), at+".diff_id", "is sha256: and 64 lower-case hexadecimal digits", string(l.DiffID), "")
		c.is(l.SizeBytes > 0 && l.SizeBytes < 1<<50, at+".size_bytes", "is the layer's size in bytes", strconv.FormatInt(l.SizeBytes, 10), "")
	}
	c.is(len(m.Command) > 0 && m.Command[0] != "", "image.command", "names the program to run and its arguments", "", `for example ["/train", "--epochs", "5"]`)
	c.is(len(m.Command) <= maxList, "image.command", "has at most 1024 arguments", strconv.Itoa(len(m.Command)), "")
	for i, a := range m.Command {
		c.is(text(a), fmt.Sprintf("image.command[%d]", i), "is UTF-8 without NUL, at most 4096 bytes", a, "")
	}
	c.env(m.Env)
	c.is(m.WorkDir == "" || folder(m.WorkDir), "image.workdir", "is an absolute path in its shortest form, or left out", m.WorkDir, "")
	c.is(m.User == "" || user(m.User), "image.user", "is uid or uid:gid in numbers, or left out", m.User, `for example "1000:1000"`)
}

func (c *checker) env(env []broker.EnvVar) {
	c.is(len(env) <= maxList, "image.env", "has at most 1024 variables", strconv.Itoa(len(env)), "")
	seen := map[string]bool{}
	for _, e := range env {
		at := "image.env." + cut(e.Name)
		c.is(variable(e.Name), at, "a variable's name has letters, digits and _ and does not start with a digit", e.Name, "")
		c.is(!strings.HasPrefix(e.Name, "VALICO_"), at, "names that start with VALICO_ are set by the launcher", e.Name, "choose another name")
		c.is(!seen[e.Name], at, "each variable is set once", e.Name, "")
		c.is(text(e.Value), at, "a value is UTF-8 without NUL, at most 4096 bytes", e.Value, "")
		seen[e.Name] = true
	}
}

func (c *checker) resources(r broker.Resources) {
	bound := func(path string, v, low, high int) {
		c.is(v >= low && v <= high, "resources."+path, fmt.Sprintf("is between %d and %d", low, high), strconv.Itoa(v), "")
	}
	bound("nodes", r.Nodes, 1, maxNodes)
	bound("gpus", r.GPUsPerNode, 0, maxGPUs)
	bound("cpus", r.CPUsPerNode, 1, maxCPUs)
	bound("memory", r.MemoryMiB, 1, maxMemory)
	c.is(r.GPUType == "" || element(r.GPUType), "resources.gpu_type", "is a GPU type of the site, or left out", r.GPUType, "")
	ok := r.Walltime >= time.Second && r.Walltime <= maxWalltime && r.Walltime%time.Second == 0
	c.is(ok, "resources.walltime", "is between 1s and 366d, in whole seconds", r.Walltime.String(), "")
}

func (c *checker) outputs(outs []broker.OutputSpec) {
	c.is(len(outs) <= maxList, "outputs", "a job declares at most 1024 outputs", strconv.Itoa(len(outs)), "")
	seen := map[string]bool{}
	for i, o := range outs {
		at := fmt.Sprintf("outputs[%d]", i)
		c.is(below(o.Path), at+".path", "is a path below /out in its shortest form, without a leading slash", o.Path, `for example "model.bin"`)
		c.is(!seen[o.Path], at+".path", "each output is declared once", o.Path, "")
		c.oneOf(at+".type", o.Type, "model", "metrics", "table", "figure", "text")
		seen[o.Path] = true
	}
}

// resume holds the block to its bounds; one that is left out asks for nothing.
func (c *checker) resume(r broker.Resume, walltime time.Duration) {
	if !r.Set() {
		return
	}
	c.oneOf("resume.signal", r.Signal, broker.ResumeSignals()...)
	within := r.Before < walltime || walltime < time.Second || walltime%time.Second != 0 // that one is told by itself
	ok := r.Before >= broker.MinResumeBefore && within && r.Before%time.Second == 0
	c.is(ok, "resume.before", "is at least 1s and less than the walltime, in whole seconds", r.Before.String(),
		"give the job time enough to write its checkpoint")
	c.is(r.MaxSegments >= broker.MinSegments && r.MaxSegments <= broker.MaxSegments, "resume.max_segments",
		fmt.Sprintf("is between %d and %d", broker.MinSegments, broker.MaxSegments), strconv.Itoa(r.MaxSegments),
		"leave resume out for a job of one segment")
}

func label(s string) bool {
	return s != "" && len(s) <= 100 && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// identifier is printable ASCII without spaces.
func identifier(s string, limit int) bool {
	return s != "" && len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

func text(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

func word(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func uri(s string) bool {
	if !identifier(s, 2_048) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "")
}

// element is one path element that needs no quoting anywhere.
func element(s string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
	}
	return s != "" && len(s) <= 64 && s[0] != '.' && s[0] != '-' &&
		strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

func variable(s string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
	}
	return s != "" && len(s) <= 200 && (s[0] < '0' || s[0] > '9') &&
		strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

func folder(s string) bool { return text(s) && path.IsAbs(s) && path.Clean(s) == s }

func below(s string) bool {
	return label(strings.ReplaceAll(s, "/", "")) && len(s) <= maxText && !path.IsAbs(s) && path.Clean(s) == s &&
		s != "." && s != ".." && !strings.HasPrefix(s, "../") && !strings.Contains(s, `\`)
}

func user(s string) bool {
	uid, gid, both := strings.Cut(s, ":")
	number := func(s string) bool {
		n, err := strconv.ParseUint(s, 10, 31)
		return err == nil && strconv.FormatUint(n, 10) == s
	}
	return number(uid) && (!both || number(gid))
}
