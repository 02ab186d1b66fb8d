package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/authority"
	"github.com/valico-hpc/valico/policy/permit"
)

// World is what the story needs to be there: a broker with a site, its
// dataset, a permit, and persons who are signed in.
type World struct {
	Dir       string
	URL       string
	Authority *authority.Authority
	Permit    permit.Document
	Site      wire.Site
	operator  string // the operator's token file
	clients   map[broker.PersonID]*client.Client
}

// WorldConfig says what to prepare.
type WorldConfig struct {
	Dir           string // for key files, tokens and data
	URL           string // of a broker that pins Authority
	OperatorToken string // file
	Authority     *authority.Authority
	Site          wire.Site // its datasets are filled in
	DataDir       string    // where the cohort lies, readable by the site's accounts
	GPUHours      float64
}

// LocalSite is this machine as a site, for the developer's account alone: one
// account, one person.
func LocalSite() (wire.Site, error) {
	u, err := user.Current()
	if err != nil {
		return wire.Site{}, fmt.Errorf("find out who runs this: %w", err)
	}
	return wire.Site{
		Name: "local", Country: "IT", Operator: "Example site operator", Scheduler: "local", Assurance: "advisory",
		Isolation: "userns", MaxNodes: 2, CPUsPerNode: 4, MemoryMiB: 4096, MaxWallSeconds: 3600, KillMarginSeconds: 5,
		Accounts: map[string]string{string(Developer): u.Username},
	}, nil
}

// Prepare admits the site with its dataset, adds the persons and imports the
// permit.
func Prepare(ctx context.Context, c WorldConfig) (*World, error) {
	w := &World{Dir: c.Dir, URL: c.URL, Authority: c.Authority, operator: c.OperatorToken, clients: map[broker.PersonID]*client.Client{}}
	w.Permit = Permit(time.Now(), c.Site.Name)
	if err := w.signIn(OperatorID, c.OperatorToken); err != nil {
		return nil, err
	}
	var err error
	if w.Site, err = w.Admit(ctx, c.Site, c.DataDir, c.GPUHours); err != nil {
		return nil, err
	}
	for _, p := range []wire.Person{
		{ID: string(Developer), Name: "Ada Example", Roles: []string{broker.RoleDeveloper}},
		{ID: string(Colleague), Name: "Ben Example", Roles: []string{broker.RoleDeveloper}},
		{ID: string(Reviewer), Name: "Rita Example", Roles: []string{broker.RoleReviewer}},
	} {
		if err := w.addPerson(ctx, p); err != nil {
			return nil, err
		}
	}
	return w, w.Import(ctx, w.Permit, time.Now())
}

// Admit adds a site with the dataset in a folder and an allocation, and reads it
// back as it was measured.
func (w *World) Admit(ctx context.Context, site wire.Site, dataDir string, gpuHours float64) (wire.Site, error) {
	var err error
	if site.Datasets, err = w.cohort(dataDir); err != nil {
		return wire.Site{}, err
	}
	op := w.Client(OperatorID)
	added, err := op.AddSite(ctx, wire.SiteAdd{Site: site, GPUHours: gpuHours, Days: 365})
	if err != nil {
		return wire.Site{}, fmt.Errorf("admit the site: %w", err)
	}
	sites, err := op.Sites(ctx)
	if err != nil {
		return wire.Site{}, fmt.Errorf("list sites: %w", err)
	}
	for _, s := range sites.Sites {
		if s.ID == added.ID {
			return s, nil
		}
	}
	return wire.Site{}, fmt.Errorf("the site %s is not there after it was admitted", added.Name)
}

// cohort writes the dataset and describes it as the site's registry does.
func (w *World) cohort(dir string) ([]wire.Dataset, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // synthetic data, for the site's accounts
		return nil, fmt.Errorf("make the dataset's folder: %w", err)
	}
	if err := WriteCohort(dir, 1); err != nil {
		return nil, fmt.Errorf("write the cohort: %w", err)
	}
	digest, err := app.DatasetDigest(dir)
	if err != nil {
		return nil, err
	}
	d := w.Permit.Datasets[0]
	return []wire.Dataset{{
		PURI: d.PURI, Version: d.Version, Path: dir, Digest: string(digest), Format: d.Format, Holder: d.Holder,
		Country: d.Country, Categories: d.Categories, Synthetic: true,
	}}, nil
}

func (w *World) addPerson(ctx context.Context, p wire.Person) error {
	op := w.Client(OperatorID)
	if _, err := op.AddPerson(ctx, p); err != nil {
		return fmt.Errorf("add %s: %w", p.ID, err)
	}
	t, err := op.NewToken(ctx, wire.TokenRequest{Person: p.ID, Days: 1})
	if err != nil {
		return fmt.Errorf("make a token for %s: %w", p.ID, err)
	}
	file := w.TokenFile(broker.PersonID(p.ID))
	if err := os.WriteFile(file, []byte(t.Secret+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the token of %s: %w", p.ID, err)
	}
	return w.signIn(broker.PersonID(p.ID), file)
}

// TokenFile holds a person's token, mode 0600.
func (w *World) TokenFile(p broker.PersonID) string {
	if p == OperatorID {
		return w.operator
	}
	name, _, _ := strings.Cut(string(p), "@")
	return filepath.Join(w.Dir, name+".token")
}

func (w *World) signIn(p broker.PersonID, file string) error {
	b, err := os.ReadFile(file) //nolint:gosec // a token file of the story
	if err != nil {
		return fmt.Errorf("read the token of %s: %w", p, err)
	}
	w.clients[p], err = client.New(client.Config{
		Server: w.URL, Token: broker.Secret(strings.TrimSpace(string(b))), HTTP: &http.Client{}, Agent: "valico-demo",
	})
	return err
}

// Client calls the broker as a person.
func (w *World) Client(p broker.PersonID) *client.Client { return w.clients[p] }

// Import signs a permit and its status and imports both.
func (w *World) Import(ctx context.Context, doc permit.Document, statusAt time.Time) error {
	jws, err := w.Authority.Sign(doc)
	if err != nil {
		return err
	}
	status, err := w.Authority.SignStatus(doc, permit.StatusGranted, statusAt)
	if err != nil {
		return err
	}
	_, err = w.Client(OperatorID).ImportPermit(ctx, wire.PermitImport{JWS: jws, Status: status})
	if err != nil {
		return fmt.Errorf("import permit %s: %w", doc.ID, err)
	}
	return nil
}

// JobFile is the story's job.yaml.
type JobFile struct {
	Permit   string
	Purpose  string // "53(1)(e)(ii)" when empty
	Activity string // "train" when empty
	Dataset  string // the cohort when empty
	Site     string
	Epochs   int
	Pace     time.Duration // least time of one epoch
	GPUs     int
	GPUType  string
	Walltime time.Duration
}

// YAML is the file's text.
func (j JobFile) YAML() string {
	or := func(v, d string) string {
		if v == "" {
			return d
		}
		return v
	}
	gpus := ""
	if j.GPUs > 0 {
		gpus = fmt.Sprintf("  gpus: %d\n  gpu_type: %s\n", j.GPUs, j.GPUType)
	}
	return fmt.Sprintf(`# A training run on the synthetic screening cohort.
name: screening-risk
permit: %s
purpose: %s
activity: %s
datasets:
  - id: %s
    version: "1"
    mount: cohort
site: %s
image:
  base: none
  context: image
  command: [/trainer, -data, cohort, -epochs, %q, -pace, %s]
resources:
  cpus: 1
  memory: 512MiB
  walltime: %s
%snetwork: none
telemetry: full
outputs:
  - {path: model.json, type: model}
  - {path: metrics.json, type: metrics}
`, j.Permit, or(j.Purpose, "53(1)(e)(ii)"), or(j.Activity, "train"), or(j.Dataset, Dataset), j.Site,
		strconv.Itoa(j.Epochs), j.Pace, j.Walltime, gpus)
}

// SiteFile is the site's description as a file for `valico plan --site`: JSON,
// which is YAML too.
func (w *World) SiteFile() (string, error) {
	site := w.Site
	site.ID, site.CreatedAt, site.Account = "", nil, ""
	b, err := json.MarshalIndent(site, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the site's file: %w", err)
	}
	return string(b), nil
}

// SignInAgain makes the clients anew after the broker moved to another URL.
func (w *World) SignInAgain() error {
	for p := range w.clients {
		if err := w.signIn(p, w.TokenFile(p)); err != nil {
			return err
		}
	}
	return nil
}
