package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// dataFile is the data document of the site pack: the classes of priority. Its
// bytes are part of the packs' digest, as rules are.
const dataFile = "rego/site/data.json"

// MaxPriorityWeight bounds the weight of a class, so that no job's place is
// bought by a number.
const MaxPriorityWeight = 100

// PriorityClass is one class of the data document.
type PriorityClass struct {
	Name   string
	Weight int64
	// Purposes of Article 53(1) and access modes of allocations that may use the
	// class; nil for any.
	Purposes    []string
	AccessModes []string
	Basis       string // as a Reason's
	Rule        string // in words, for people
	Default     bool   // what a job gets that names no class
}

// Priorities lists the embedded packs' classes, the heaviest first.
func Priorities() ([]PriorityClass, error) {
	b, err := fs.ReadFile(embedded, dataFile)
	if err != nil {
		return nil, fmt.Errorf("read policy data: %w", err)
	}
	return readPriorities(b)
}

// among is a list of names, or "any".
type among struct {
	any   bool
	names []string
}

// UnmarshalJSONFrom reads a list with something in it, or "any": an empty list
// would open a class that somebody meant to shut.
func (a *among) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == jsontext.KindString {
		var word string
		if err := json.UnmarshalDecode(d, &word); err != nil {
			return fmt.Errorf("read a word: %w", err)
		}
		if word != "any" {
			return fmt.Errorf("%q is neither a list nor \"any\"", word)
		}
		a.any = true
		return nil
	}
	if err := json.UnmarshalDecode(d, &a.names); err != nil {
		return fmt.Errorf("read a list: %w", err)
	}
	if len(a.names) == 0 || slices.Contains(a.names, "") {
		return errors.New(`a list names something; for every job say "any"`)
	}
	return nil
}

// readPriorities reads the data document strictly: a misspelled member must not
// open a class.
func readPriorities(b []byte) ([]PriorityClass, error) {
	var doc struct {
		Priority struct {
			Default string `json:"default"`
			Classes map[string]struct {
				Weight      int64  `json:"weight"`
				Purposes    among  `json:"purposes"`
				AccessModes among  `json:"access_modes"`
				Basis       string `json:"basis"`
				Rule        string `json:"rule"`
			} `json:"classes"`
		} `json:"priority"`
	}
	if err := json.Unmarshal(b, &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("read policy data: %w", err)
	}
	name := regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	var out []PriorityClass
	for _, n := range slices.Sorted(maps.Keys(doc.Priority.Classes)) {
		c := doc.Priority.Classes[n]
		switch {
		case !name.MatchString(n):
			return nil, fmt.Errorf("priority class %q: a name is a word of a–z, 0–9 and _", n)
		case c.Weight < 1 || c.Weight > MaxPriorityWeight:
			return nil, fmt.Errorf("priority class %s: a weight is between 1 and %d, got %d", n, MaxPriorityWeight, c.Weight)
		case !c.Purposes.any && c.Purposes.names == nil, !c.AccessModes.any && c.AccessModes.names == nil:
			return nil, fmt.Errorf("priority class %s: purposes and access_modes say who may use it", n)
		case !slices.Contains([]string{BasisNational, BasisPermitCondition, BasisContract}, c.Basis):
			// No law in force gives a job its place in a queue.
			return nil, fmt.Errorf("priority class %s: the basis is national, permit_condition or contract, got %q", n, c.Basis)
		case c.Rule == "":
			return nil, fmt.Errorf("priority class %s: its rule is told in words", n)
		}
		out = append(out, PriorityClass{
			Name: n, Weight: c.Weight, Purposes: c.Purposes.names, AccessModes: c.AccessModes.names, Basis: c.Basis, Rule: c.Rule,
			Default: n == doc.Priority.Default,
		})
	}
	if !slices.ContainsFunc(out, func(c PriorityClass) bool { return c.Default }) {
		return nil, fmt.Errorf("the default priority class %q is not one of the classes", doc.Priority.Default)
	}
	slices.SortStableFunc(out, func(a, b PriorityClass) int { return int(b.Weight - a.Weight) })
	return out, nil
}

// loadData reads the packs' data for the engine, after it was found sound.
func loadData(src fs.FS) (map[string]any, error) {
	b, err := fs.ReadFile(src, dataFile)
	if err != nil {
		return nil, fmt.Errorf("read policy data: %w", err)
	}
	if _, err := readPriorities(b); err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(bytes.Clone(b), &doc); err != nil {
		return nil, fmt.Errorf("read policy data: %w", err)
	}
	return map[string]any{"site": doc}, nil
}

// Priority is the class that a decision gives a job, and its weight.
type Priority struct {
	Class  string
	Weight int64
}

// Priority reads the obligation "priority:CLASS:WEIGHT". A result without exactly
// one is not of the agreed form: whoever is let in has a place.
func (r Result) Priority() (Priority, error) {
	var found []Priority
	for _, o := range r.Obligations {
		rest, ok := strings.CutPrefix(o, "priority:")
		if !ok {
			continue
		}
		class, weight, _ := strings.Cut(rest, ":")
		n, err := strconv.ParseInt(weight, 10, 64)
		if err != nil || class == "" || n < 1 || n > MaxPriorityWeight {
			return Priority{}, fmt.Errorf("%w: obligation %q", ErrNoDecision, o)
		}
		found = append(found, Priority{Class: class, Weight: n})
	}
	if len(found) != 1 {
		return Priority{}, fmt.Errorf("%w: %d classes of priority", ErrNoDecision, len(found))
	}
	return found[0], nil
}
