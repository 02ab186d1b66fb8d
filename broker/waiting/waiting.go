package waiting

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
)

//go:embed en.yaml it.yaml
var files embed.FS

// catalogues are read once, on first use, and never change.
var catalogues = sync.OnceValues(read) //nolint:gochecknoglobals // a constant that is not written as Go

// Message is what a person reads of one code.
type Message struct {
	Sentence string `yaml:"sentence"` // what it waits for
	Remedy   string `yaml:"remedy"`   // what helps
	Who      string `yaml:"who"`      // who can help
}

// Languages lists the languages that have a catalogue.
func Languages() []string { return []string{"en", "it"} }

// Codes lists the codes that a language has sentences for, sorted.
func Codes(lang string) ([]broker.WaitCode, error) {
	all, err := catalogues()
	if err != nil {
		return nil, err
	}
	out := make([]broker.WaitCode, 0, len(all[lang]))
	for code := range all[lang] {
		out = append(out, code)
	}
	slices.Sort(out)
	return out, nil
}

// Explain gives the sentences of a code at a site: English where the language
// is unknown, those of WaitUnknown where the code is. {site} stands for the
// site's name, which may be empty.
func Explain(lang string, code broker.WaitCode, site string) Message {
	all, err := catalogues()
	if err != nil {
		return Message{Sentence: string(code)}
	}
	c, ok := all[lang]
	if !ok {
		c, lang = all["en"], "en"
	}
	m, ok := c[code]
	if !ok {
		m = c[broker.WaitUnknown]
	}
	if site == "" {
		site = map[string]string{"en": "the site", "it": "il sito"}[lang]
	}
	for _, s := range []*string{&m.Sentence, &m.Remedy, &m.Who} {
		*s = strings.ReplaceAll(*s, "{site}", site)
	}
	return m
}

func read() (map[string]map[broker.WaitCode]Message, error) {
	out := map[string]map[broker.WaitCode]Message{}
	for _, lang := range Languages() {
		f, err := files.Open(lang + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("read sentences: %w", err)
		}
		d := yaml.NewDecoder(f)
		d.KnownFields(true)
		var c map[broker.WaitCode]Message
		if err := d.Decode(&c); err != nil {
			return nil, fmt.Errorf("read sentences of %s: %w", lang, err)
		}
		out[lang] = c
	}
	return out, nil
}
