package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	gojson "github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/images/dsse"
)

type agentInitOptions struct{ name, dir, siteDir string }

func newAgentInitCommand(e *env) *cobra.Command {
	var o agentInitOptions
	c := &cobra.Command{
		Use: "init", Short: "Make an agent's keys and its configuration", Args: args(),
		Long: help("Init makes the agent's keys and a configuration with comments, and enrolment.json with the public halves for the\n"+
			"broker's operator. What is there already stays as it is.",
			"valico agent init --name leo --dir /etc/valico --site-dir /srv/valico"),
		RunE: func(*cobra.Command, []string) error { return runAgentInit(o, e) },
	}
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "the site's name, as permits list it")
	f.StringVar(&o.dir, "dir", "/etc/valico", "folder for configuration, trust and keys")
	f.StringVar(&o.siteDir, "site-dir", "/srv/valico", "the site's folder, which the nodes see too")
	_ = c.MarkFlagRequired("name") // it exists
	return c
}

func runAgentInit(o agentInitOptions, e *env) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return fileError("find the folder", o.dir, err)
	}
	siteDir, err := filepath.Abs(o.siteDir)
	if err != nil {
		return fileError("find the folder", o.siteDir, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "trust"), 0o700); err != nil {
		return fileError("make the folder", dir, err)
	}
	keys, err := app.AgentKeys(filepath.Join(dir, "state"), link.NewSeed, link.PublicOf)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return fmt.Errorf("write the enrolment: %w", err)
	}
	enrolment, config := filepath.Join(dir, "enrolment.json"), filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(enrolment, append(b, '\n'), 0o644); err != nil { //nolint:gosec // public keys
		return fileError("write the enrolment", enrolment, err)
	}
	text := strings.NewReplacer("{dir}", dir, "{site_dir}", siteDir).Replace(exampleAgent)
	if err := writeNewFile(config, []byte(text)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fileError("write the configuration", config, err)
	}
	id, err := fingerprint(keys.Key)
	if err != nil {
		return err
	}
	table(e.Stdout,
		[]string{"AGENT KEY", id}, []string{"SIGN-IN KEY", keys.SignIn},
		[]string{"CONFIGURATION", config}, []string{"ENROLMENT", enrolment})
	fmt.Fprintf(e.Stdout, `
1. Give %s to the broker's operator, who runs:
     valico site add SITE.yaml --agent enrolment.json --broker-record broker.json
   and sees the agent key above. Compare it by telephone or on paper.
2. Put the authorities that your site trusts into %s.
3. Pin what the operator gives you back, and compare its keys in the same way:
     valico agent pin broker.json --config %s
4. Fill in %s and start: valico agent --config %s
`, enrolment, filepath.Join(dir, "trust", "authorities.json"), config, config, config)
	return nil
}

func writeNewFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's own choice
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// fingerprint names a public key for people to compare.
func fingerprint(pem string) (string, error) {
	key, err := dsse.ParsePublicPEM([]byte(pem))
	if err != nil {
		return "", invalid("key_invalid", "a key is not understood", "one PEM block PUBLIC KEY", "", "ask for the file again")
	}
	id, err := dsse.KeyID(key)
	return "sha256:" + id, err
}

type agentPinOptions struct {
	config  string
	replace bool
}

func newAgentPinCommand(e *env) *cobra.Command {
	var o agentPinOptions
	c := &cobra.Command{
		Use: "pin BROKER.json", Short: "Pin a broker's keys", Args: args("BROKER.json"),
		Long: help("Pin shows the fingerprints of a broker's keys and puts them into the site's trust folder. Compare them with the\n"+
			"broker's operator before the agent is started: whoever holds these keys may send the site work, and only with an\n"+
			"authority's permit and status.", "valico agent pin broker.json --config /etc/valico/agent.yaml"),
		RunE: func(_ *cobra.Command, a []string) error { return runAgentPin(a[0], o, e) },
	}
	c.Flags().StringVar(&o.config, "config", "/etc/valico/agent.yaml", "YAML file with the agent's configuration")
	c.Flags().BoolVar(&o.replace, "replace", false, "replace the keys that are pinned now")
	return c
}

func runAgentPin(path string, o agentPinOptions, e *env) error {
	c, err := loadAgentConfig(o.config)
	if err != nil {
		return err
	}
	b, err := readFile("the broker's record", path)
	if err != nil {
		return err
	}
	r, err := app.ParseBrokerRecord(b)
	if err != nil {
		return err
	}
	if have, err := c.LoadBrokerRecord(); err == nil && have != r && !o.replace {
		return invalid("broker_pinned", "other keys of a broker are pinned", "keys are replaced by somebody who means it", have.URL, "compare the new keys, then add --replace")
	}
	if err := os.MkdirAll(c.Trust, 0o700); err != nil {
		return fileError("make the folder", c.Trust, err)
	}
	if err := c.PinBroker(b); err != nil {
		return err
	}
	return e.printBroker(r)
}

// printBroker shows what two operators compare.
func (e *env) printBroker(r wire.BrokerRecord) error {
	rows := [][]string{{"SITE", r.Name}, {"SITE ID", r.Site}, {"BROKER", r.URL}}
	for _, k := range []struct{ name, pem string }{{"ORDER KEY", r.Order}, {"IMAGE KEY", r.Image}, {"LINK KEY", r.Link}} {
		id, err := fingerprint(k.pem)
		if err != nil {
			return err
		}
		rows = append(rows, []string{k.name, id})
	}
	table(e.Stdout, append(rows, []string{"LEDGER KEY", r.Ledger})...)
	return nil
}

// readAgentKeys reads enrolment.json strictly.
func readAgentKeys(path string) (wire.AgentKeys, error) {
	b, err := readFile("the enrolment", path)
	if err != nil {
		return wire.AgentKeys{}, err
	}
	var k wire.AgentKeys
	if err := gojson.Unmarshal(b, &k, gojson.RejectUnknownMembers(true)); err != nil {
		return k, invalid("enrolment_invalid", "the enrolment is not understood", "the enrolment.json of valico agent init", path, "ask the site operator for it again")
	}
	return k, nil
}
