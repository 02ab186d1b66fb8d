package dsse

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// The PEM block types of the key files.
const (
	pemPublic  = "PUBLIC KEY"
	pemPrivate = "PRIVATE KEY"
)

// maxPEM bounds a key file; a P-256 key takes some 240 bytes.
const maxPEM = 16 << 10

// KeyID names a public key: the lower-case hex SHA-256 of its PKIX DER form.
func KeyID(pub crypto.PublicKey) (string, error) {
	sum, err := Fingerprint(pub)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum[:]), nil
}

// Fingerprint is the SHA-256 of a public key's PKIX DER form.
func Fingerprint(pub crypto.PublicKey) ([sha256.Size]byte, error) {
	if _, err := signerOpts(pub); err != nil {
		return [sha256.Size]byte{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return sha256.Sum256(der), nil
}

// VerifyBytes checks a bare signature of payload under payloadType.
func VerifyBytes(payloadType string, payload, sig []byte, pub crypto.PublicKey) error {
	if _, err := signerOpts(pub); err != nil {
		return err
	}
	msg := PAE(payloadType, payload)
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(msg)
		if ecdsa.VerifyASN1(k, sum[:], sig) {
			return nil
		}
	case ed25519.PublicKey:
		if ed25519.Verify(k, msg, sig) {
			return nil
		}
	}
	return ErrSignature
}

// signerOpts says how keys of pub's kind sign; it is the only list of them.
func signerOpts(pub crypto.PublicKey) (crypto.SignerOpts, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("%w: ECDSA must be on P-256", ErrKey)
		}
		return crypto.SHA256, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: Ed25519 key of %d bytes", ErrKey, len(k))
		}
		return crypto.Hash(0), nil
	}
	return nil, fmt.Errorf("%w: %T, want ECDSA P-256 or Ed25519", ErrKey, pub)
}

// GenerateKey makes a new ECDSA P-256 key.
func GenerateKey() (crypto.Signer, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return k, nil
}

// MarshalPublicPEM writes a public key as a PEM block "PUBLIC KEY" (PKIX).
func MarshalPublicPEM(pub crypto.PublicKey) ([]byte, error) {
	if _, err := signerOpts(pub); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), nil
}

// MarshalPrivatePEM writes a private key as a PEM block "PRIVATE KEY" (PKCS #8).
func MarshalPrivatePEM(s crypto.Signer) ([]byte, error) {
	if _, err := signerOpts(s.Public()); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), nil
}

// ParsePublicPEM reads a file that holds exactly one public key.
func ParsePublicPEM(b []byte) (crypto.PublicKey, error) {
	der, err := onePEM(b, pemPublic)
	if err != nil {
		return nil, err
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if _, err := signerOpts(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

// ParsePrivatePEM reads a file that holds exactly one private key. Its errors
// never quote the file.
func ParsePrivatePEM(b []byte) (crypto.Signer, error) {
	der, err := onePEM(b, pemPrivate)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not a PKCS #8 private key", ErrKey)
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot sign", ErrKey, k)
	}
	if _, err := signerOpts(s.Public()); err != nil {
		return nil, err
	}
	return s, nil
}

// onePEM returns the content of a file that is one PEM block and nothing else.
func onePEM(b []byte, want string) ([]byte, error) {
	if len(b) > maxPEM {
		return nil, fmt.Errorf("%w: key file of %d bytes, at most %d", ErrKey, len(b), maxPEM)
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%w: no PEM block %q", ErrKey, want)
	case block.Type != want:
		return nil, fmt.Errorf("%w: PEM block %q, want %q", ErrKey, block.Type, want)
	case len(block.Headers) != 0:
		return nil, fmt.Errorf("%w: PEM block with headers", ErrKey)
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, fmt.Errorf("%w: more than one PEM block", ErrKey)
	case !bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN ")):
		return nil, fmt.Errorf("%w: text before the PEM block", ErrKey)
	}
	return block.Bytes, nil
}
