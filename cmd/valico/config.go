package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
)

// Values of --output and --lang.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputCSV   = "csv" // of commands with annotationCSV
)

// annotationCSV marks a command that can write CSV.
const annotationCSV = "csv"

// defaultServer is where valico serve listens unless told otherwise.
const defaultServer = "http://127.0.0.1:8420"

// globals are the options of every command.
type globals struct {
	server, tokenFile, output, lang string
}

// configFile is ~/.config/valico/config.yaml.
type configFile struct {
	Server    string `yaml:"server"`
	TokenFile string `yaml:"token_file"`
	Output    string `yaml:"output"`
	Lang      string `yaml:"lang"`
}

func (g *globals) addFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&g.server, "server", "", "address of the broker (VALICO_SERVER; "+defaultServer+")")
	f.StringVar(&g.tokenFile, "token-file", "", "file with your token (VALICO_TOKEN_FILE)")
	f.StringVarP(&g.output, "output", "o", "", "table or json (VALICO_OUTPUT)")
	f.StringVar(&g.lang, "lang", "", "language of reasons: en or it (VALICO_LANG)")
}

// resolve fills in what no flag said: environment, then file, then default.
func (e *env) resolve(csv bool) error {
	file, err := e.readConfig()
	if err != nil {
		return err
	}
	for _, o := range []struct {
		value                *string
		variable, file, base string
	}{
		{&e.opts.server, "VALICO_SERVER", file.Server, defaultServer},
		{&e.opts.tokenFile, "VALICO_TOKEN_FILE", file.TokenFile, ""},
		{&e.opts.output, "VALICO_OUTPUT", file.Output, outputTable},
		{&e.opts.lang, "VALICO_LANG", file.Lang, "en"},
	} {
		for _, v := range []string{e.Getenv(o.variable), o.file, o.base} {
			if *o.value == "" {
				*o.value = v
			}
		}
	}
	if e.opts.output != outputTable && e.opts.output != outputJSON && (!csv || e.opts.output != outputCSV) {
		bad := e.opts.output
		e.opts.output = outputTable
		return invalid("usage", "unknown output", "--output is table or json", bad, "use -o table or -o json")
	}
	if e.opts.lang != "en" && e.opts.lang != "it" {
		return invalid("usage", "unknown language", "--lang is en or it", e.opts.lang, "use --lang en or --lang it")
	}
	return nil
}

// configPath is "" where there is no home.
func (e *env) configPath() string {
	if dir := e.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "valico", "config.yaml")
	}
	if home := e.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "valico", "config.yaml")
	}
	return ""
}

func (e *env) readConfig() (configFile, error) {
	var c configFile
	path := e.configPath()
	if path == "" {
		return c, nil
	}
	f, err := os.Open(path) //nolint:gosec // the person's own file
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fileError("read the configuration", path, err)
	}
	defer f.Close() //nolint:errcheck // read only
	d := yaml.NewDecoder(io.LimitReader(f, maxFile))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, invalid("config_invalid", "the configuration is not valid: "+strings.ReplaceAll(err.Error(), "\n", " "),
			"known keys are server, token_file, output and lang", path, "correct the file")
	}
	return c, nil
}

// client is the broker as the person who is signed in; without a token where
// none is configured.
func (e *env) client() (*client.Client, error) {
	var token broker.Secret
	if path := e.opts.tokenFile; path != "" {
		b, err := readFile("the token", path)
		if err != nil {
			return nil, err
		}
		token = broker.Secret(strings.TrimSpace(string(b)))
		if strings.ContainsFunc(string(token), func(r rune) bool { return r <= ' ' || r > '~' }) || token == "" {
			return nil, invalid("token_file_invalid", "the token file does not hold a token", "it holds one line, vlc_…", path, "write the token into it again")
		}
	}
	return client.New(client.Config{Server: e.opts.server, Token: token, HTTP: e.HTTP, Agent: "valico/" + broker.Version})
}
