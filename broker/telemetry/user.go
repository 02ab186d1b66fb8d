package telemetry

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/valico-hpc/valico/broker"
)

// users is the embedded server's table of users. It satisfies
// server.Authentication, so that a site may be added while the server runs.
type users struct {
	mu     sync.RWMutex
	byName map[string]user
	byKey  map[string]string // public nkey to name
}

type user struct {
	secret broker.Secret // of a user in this process
	nkey   string        // of a remote one
	perms  *natsd.Permissions
}

// add adds a user with a random password, once.
func (u *users) add(name string, p *natsd.Permissions) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.byName[name]; ok {
		return
	}
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error
	u.byName[name] = user{secret: broker.Secret(base64.RawURLEncoding.EncodeToString(b[:])), perms: p}
}

// pin makes a user of who holds a key, and returns the key that counts no more.
// It reports false when the key is another user's.
func (u *users) pin(name, nkey string, p *natsd.Permissions) (old string, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if other, ok := u.byKey[nkey]; ok && other != name {
		return "", false
	}
	old = u.byName[name].nkey
	delete(u.byKey, old)
	u.byName[name], u.byKey[nkey] = user{nkey: nkey, perms: p}, name
	return old, true
}

// remove forgets a user and returns its key.
func (u *users) remove(name string) (nkey string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	nkey = u.byName[name].nkey
	delete(u.byKey, nkey)
	delete(u.byName, name)
	return nkey
}

func (u *users) secret(name string) (broker.Secret, bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	x, ok := u.byName[name]
	return x.secret, ok && x.secret != ""
}

// Check signs a client in, by its key or by its password.
func (u *users) Check(c natsd.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Nkey != "" {
		return u.checkKey(c, o)
	}
	u.mu.RLock()
	x, ok := u.byName[o.Username]
	u.mu.RUnlock()
	// Hashes are compared so that lengths do not tell.
	got, want := sha256.Sum256([]byte(o.Password)), sha256.Sum256([]byte(x.secret))
	if !ok || x.secret == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return false
	}
	c.RegisterUser(&natsd.User{Username: o.Username, Permissions: x.perms})
	return true
}

// checkKey signs in who proves to hold a pinned key: it signed the nonce of
// this connection.
func (u *users) checkKey(c natsd.ClientAuthentication, o *natsd.ClientOpts) bool {
	u.mu.RLock()
	name, ok := u.byKey[o.Nkey]
	x := u.byName[name]
	u.mu.RUnlock()
	nonce := c.GetNonce()
	if !ok || len(nonce) == 0 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if err != nil {
		return false
	}
	pub, err := nkeys.FromPublicKey(o.Nkey)
	if err != nil || pub.Verify(nonce, sig) != nil {
		return false
	}
	c.RegisterUser(&natsd.User{Username: name, Permissions: x.perms})
	return true
}
