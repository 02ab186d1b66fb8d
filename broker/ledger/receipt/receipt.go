package receipt

// ReceiptSchema is the version of Receipt.
const ReceiptSchema = "valico-receipt/v1"

// Receipt proves to whoever pins the ledger's key that a record is in the log.
type Receipt struct {
	Schema     string `json:"schema"`
	Record     Record `json:"record"`
	Salt       Hash   `json:"salt"` // opens Record.Document
	Index      int64  `json:"index"`
	TreeSize   int64  `json:"tree_size"`
	Proof      []Hash `json:"proof"`      // RFC 6962 inclusion proof
	Checkpoint string `json:"checkpoint"` // signed note
}

// EncodeReceipt writes a receipt in its one encoding.
func EncodeReceipt(r Receipt) ([]byte, error) {
	if r.Schema != ReceiptSchema {
		return nil, fail(CodeMalformed, "schema %q, want %q", r.Schema, ReceiptSchema)
	}
	if _, err := EncodeRecord(r.Record); err != nil {
		return nil, err
	}
	if r.Index < 0 || r.Index >= r.TreeSize {
		return nil, fail(CodeMalformed, "index %d in a tree of %d", r.Index, r.TreeSize)
	}
	if len(r.Proof) > 63 {
		return nil, fail(CodeMalformed, "a proof of %d hashes belongs to no tree", len(r.Proof))
	}
	r.Proof = append([]Hash{}, r.Proof...) // an empty proof is written as a list
	return marshal(r)
}

// DecodeReceipt reads a receipt and refuses anything that EncodeReceipt would
// not have written. It verifies nothing.
func DecodeReceipt(b []byte) (Receipt, error) {
	var r Receipt
	if err := unmarshal(b, &r); err != nil {
		return Receipt{}, err
	}
	if err := canonical(b, r, EncodeReceipt); err != nil {
		return Receipt{}, err
	}
	return r, nil
}
