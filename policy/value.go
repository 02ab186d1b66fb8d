package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// maxDepth bounds how deeply values may be nested; Input needs seven.
const maxDepth = 64

// readValue reads one JSON document as the engine's own values. The engine's
// reader makes maps of it first and hashes them again, which took a tenth of
// an admission; a test holds the two to the same value.
func readValue(b []byte) (ast.Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	v, err := nextValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err != io.EOF { //nolint:errorlint // the decoder's own value, never wrapped
		return nil, fmt.Errorf("something follows the document: %w", err)
	}
	return v, nil
}

func nextValue(d *jsontext.Decoder) (ast.Value, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case jsontext.KindNull:
		return ast.NullValue, nil
	case jsontext.KindTrue, jsontext.KindFalse:
		return ast.InternedTerm(t.Bool()).Value, nil
	case jsontext.KindString:
		return ast.InternedTerm(t.String()).Value, nil
	case jsontext.KindNumber:
		return ast.Number(json.Number(t.String())), nil
	case jsontext.KindBeginArray:
		return array(d)
	case jsontext.KindBeginObject:
		return object(d)
	case jsontext.KindInvalid, jsontext.KindEndObject, jsontext.KindEndArray:
	}
	return nil, fmt.Errorf("unexpected %s", t.Kind())
}

func array(d *jsontext.Decoder) (ast.Value, error) {
	if d.StackDepth() > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	var elems []*ast.Term
	for d.PeekKind() != jsontext.KindEndArray {
		v, err := nextValue(d)
		if err != nil {
			return nil, err
		}
		elems = append(elems, ast.NewTerm(v))
	}
	_, err := d.ReadToken() // the end, or why it could not be looked for
	return ast.NewArray(elems...), err
}

func object(d *jsontext.Decoder) (ast.Value, error) {
	if d.StackDepth() > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	members := make([][2]*ast.Term, 0, 16)
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := ast.InternedTerm(name.String())
		v, err := nextValue(d)
		if err != nil {
			return nil, err
		}
		members = append(members, [2]*ast.Term{key, ast.NewTerm(v)})
	}
	_, err := d.ReadToken() // the end, or why it could not be looked for
	return ast.NewObject(members...), err
}
