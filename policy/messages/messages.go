package messages

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed en.yaml it.yaml
var files embed.FS

// catalogues are read once, on first use, and never change.
var catalogues = sync.OnceValues(read) //nolint:gochecknoglobals // a constant that is not written as Go

// Message is what a person reads of one reason.
type Message struct {
	Text    string `yaml:"text"`    // what is wrong
	Help    string `yaml:"help"`    // what helps
	Who     string `yaml:"who"`     // who can help
	Article string `yaml:"article"` // the article or contract
}

// catalogue is one language's file.
type catalogue struct {
	Summary  string             `yaml:"summary"`
	Messages map[string]Message `yaml:"messages"`
}

// Languages lists the languages that have a catalogue.
func Languages() []string { return []string{"en", "it"} }

// Codes lists the codes that a language has texts for, sorted.
func Codes(lang string) ([]string, error) {
	all, err := catalogues()
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(all[lang].Messages))
	for code := range all[lang].Messages {
		out = append(out, code)
	}
	slices.Sort(out)
	return out, nil
}

// Explain gives the texts of a code with its parameters filled in; ok is false
// for an unknown language or code.
func Explain(lang, code string, params map[string]string) (m Message, ok bool) {
	all, err := catalogues()
	if err != nil {
		return Message{}, false
	}
	m, ok = all[lang].Messages[code]
	m.Text, m.Help = fill(m.Text, params), fill(m.Help, params)
	return m, ok
}

// Summary is the sentence that stands above reasons: what the check is, and
// that it is no decision on a permit.
func Summary(lang string) (text string, ok bool) {
	all, err := catalogues()
	if err != nil {
		return "", false
	}
	c, ok := all[lang]
	return c.Summary, ok
}

// slots finds {param} in a text.
func slots() *regexp.Regexp { return regexp.MustCompile(`\{([a-z_]+)\}`) }

// fill replaces each slot once; a value that looks like a slot stays as it is.
func fill(text string, params map[string]string) string {
	return slots().ReplaceAllStringFunc(text, func(slot string) string {
		if v, ok := params[slot[1:len(slot)-1]]; ok && v != "" {
			return v
		}
		return "–"
	})
}

func read() (map[string]catalogue, error) {
	out := map[string]catalogue{}
	for _, lang := range Languages() {
		f, err := files.Open(lang + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		d := yaml.NewDecoder(f)
		d.KnownFields(true)
		var c catalogue
		if err := d.Decode(&c); err != nil {
			return nil, fmt.Errorf("read messages of %s: %w", lang, err)
		}
		out[lang] = c
	}
	return out, nil
}
