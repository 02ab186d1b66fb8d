package demo

import (
	"time"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/cmd/valico/authority"
	"github.com/valico-hpc/valico/policy/permit"
)

// The persons of the story.
const (
	Developer  broker.PersonID = "ada@biotech.example"
	Colleague  broker.PersonID = "ben@biotech.example"
	Reviewer   broker.PersonID = "rita@authority.example"
	OperatorID broker.PersonID = "operator@localhost"
)

// DatasetPrefix is where the story's authority may give access to data.
const DatasetPrefix = "https://data.example/dataset/"

// Dataset is the synthetic cohort's persistent URI.
const Dataset = DatasetPrefix + "synthetic-screening"

// NewAuthority makes the story's authority in a folder.
func NewAuthority(dir string) (*authority.Authority, error) {
	doc := permit.Template(time.Now())
	return authority.New(dir, authority.Scope{
		HDAB: doc.Issuer.HDAB, DatasetPrefixes: []string{DatasetPrefix}, Holders: []string{doc.Datasets[0].Holder}, Reviewer: Reviewer,
	})
}

// Permit is the story's permit: a year of training on the synthetic cohort at
// one site, for the developer and a colleague.
func Permit(now time.Time, site string) permit.Document {
	doc := permit.Template(now)
	ben := doc.Persons[0]
	ben.ID, ben.Name, ben.Role = string(Colleague), "Ben Example", "ANALYST"
	doc.Persons = append(doc.Persons, ben)
	doc.SPE.Sites = []string{site}
	return doc
}
