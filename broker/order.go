package broker

import "time"

// WorkOrder is the instruction that a site obeys. It is signed by the broker;
// the site checks it, and the evidence beside it, with keys of its own.
type WorkOrder struct {
	ID        OrderID
	Site      SiteID
	Account   string // the operating-system account that runs the job
	KeyEpoch  int    // the broker's key epoch; a site refuses older ones than it pinned
	NotBefore time.Time
	NotAfter  time.Time // last moment to start

	Tenant    TenantID
	Job       JobID
	Attempt   AttemptID
	Segment   int // Attempt.Number when the job may resume; 0 otherwise
	Submitter PersonID

	Spec      Digest // of Evidence.Spec
	Permit    Digest // of Evidence.Permit, the compact JWS
	Clearance Digest // of Evidence.Clearance, the decision document
	Image     Digest // of the image manifest

	Command   []string
	Env       []EnvVar
	WorkDir   string
	Mounts    []Mount
	Limits    Resources
	Network   string
	Telemetry string
	Lease     string // reference of the authority's lease; checked in a later version
	Outputs   []OutputSpec
	Resume    Resume
}

// Mount is a dataset that the order opens, read-only at /data/<Name>.
type Mount struct {
	Name    string
	PURI    string
	Version string
	Digest  Digest
}

// Evidence is what a site re-checks beside the order. Every piece is the exact
// stored bytes whose digest the order or the clearance names.
type Evidence struct {
	Spec      []byte // canonical job spec
	Permit    []byte // compact JWS of the permit
	Status    []byte // compact JWS of the permit's status
	Clearance []byte // decision document
	Receipt   []byte // ledger receipt of the clearance
	Manifest  []byte // OCI image manifest
	Config    []byte // OCI image config
	Signature []byte // Sigstore bundle over the manifest's digest
}

// SignedOrder is a work order as it travels: a DSSE envelope and its evidence.
type SignedOrder struct {
	Order    WorkOrder // what Envelope says, decoded; never trusted without verifying Envelope
	Envelope []byte
	Evidence Evidence
}

// Launch is what an agent hands to its site's scheduler. Nothing in it names a
// permit, dataset, purpose, project, tenant or person (promise P12).
type Launch struct {
	Name        string // opaque, one per attempt; the idempotency key
	Account     string // operating-system account that shall own the job
	OrderDigest Digest // searched for with Name and Account before a re-submit
	Dir         string // the attempt's own folder at the site
	Argv        []string
	Env         []EnvVar
	Resources   Resources
	Hold        bool // submit held (benchmarks and tests only)
}

// AttemptReport is what a site says of one attempt.
type AttemptReport struct {
	Attempt    AttemptID
	State      AttemptState
	Outcome    Outcome // set when State is done
	ExitCode   int
	Code       string
	Waiting    Waiting // of the state as it is
	Usage      Usage
	Outputs    *OutputManifest // set once sealed
	StartedAt  time.Time
	FinishedAt time.Time
	At         time.Time
}

// OutputManifest lists what a site sealed of one attempt. It is the thing a
// reviewer signs: its digest is over its canonical bytes.
type OutputManifest struct {
	Attempt  AttemptID
	Sandbox  bool // outputs of synthetic data, marked as such
	Files    []OutputFile
	Digest   Digest // of Bytes
	Bytes    []byte // canonical encoding
	SealedAt time.Time
}

// OutputFile is one sealed file.
type OutputFile struct {
	Path      string // below /out, slash-separated
	SizeBytes int64
	Digest    Digest
}

// Release is a reviewer's signed release of one manifest.
type Release struct {
	ID          ReleaseID
	Tenant      TenantID
	Project     ProjectID
	Job         JobID
	Attempt     AttemptID
	Manifest    Digest
	Reviewer    PersonID
	Envelope    []byte // DSSE by the reviewer's key
	LedgerIndex int64
	At          time.Time
}
