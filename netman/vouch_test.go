package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"dnet/netman/seal"
	"dnet/netman/trust"
)

// sealedKeeper is a keeper in a sealed mode, without anything to do.
func sealedKeeper(t testing.TB, machine string, n byte, mode seal.Mode) *keeper {
	s := &sealing{identity: filepath.Join(t.TempDir(), "identity"), pins: filepath.Join(t.TempDir(), "pins")}
	var err error
	if s.config.Identity, s.witness, err = seal.FromSeed([32]byte{n}); err != nil {
		t.Fatal(err)
	}
	if s.config.Mode = mode; mode == seal.Secret {
		secret, err := seal.NewSiteSecret([]byte("what all machines of this site know"))
		if err != nil {
			t.Fatal(err)
		}
		s.config.Secrets = []seal.SiteSecret{secret}
	}
	k := &keeper{setup: &setup{machine: machine, sealing: s}}
	k.pins, k.voucher = newPins(k, s), newVoucher(s)
	return k
}

// knows has a keeper know another.
func (k *keeper) knows(other *keeper, accepted bool) {
	s := other.setup.sealing
	k.pins.known[other.setup.machine] = seal.Pin{
		Machine: other.setup.machine, Key: s.config.Identity.Key, Witness: s.witness.Key, Accepted: accepted, How: "met",
	}
}

// vouchFor has a keeper make the credential of a visitor's call to another, as its wire asks, and gives what the other's wire makes of it.
func (k *keeper) vouchFor(t *testing.T, to *keeper, pass uint64, service string) *memo {
	t.Helper()
	user, credential, err := k.credential(&memo{Pass: pass, Machine: to.setup.machine, Service: service, Boot: to.voucher.boot})
	if err != nil {
		t.Fatal(err)
	}
	return &memo{Machine: k.setup.machine, Service: service, User: user, Credential: credential}
}

// A call from another machine is believed once, and for what its keeper has vouched for.
func TestCredentialIsBelievedOnce(t *testing.T) {
	for _, mode := range []seal.Mode{seal.Pinned, seal.Secret} {
		moon, doc := sealedKeeper(t, "moon", 1, mode), sealedKeeper(t, "doc", 2, mode)
		moon.knows(doc, false)
		doc.knows(moon, true)
		alice := moon.passes.give("alice")
		m := moon.vouchFor(t, doc, alice, "rx.doc")
		for name, wrong := range map[string]func(m *memo){
			"another user": func(m *memo) { m.User = "root" }, "no user": func(m *memo) { m.User = "" },
			"another service": func(m *memo) { m.Service = "rx" }, "another machine": func(m *memo) { m.Machine = "sun" },
			"none": func(m *memo) { m.Credential = nil }, "a stream": func(m *memo) { m.Stream = true },
			"a bent one": func(m *memo) { m.Credential = bytes.Clone(m.Credential); m.Credential[20] ^= 1 },
		} {
			forged := *m
			wrong(&forged)
			var unproven *unproven
			if call, err := doc.caller(&forged); !errors.As(err, &unproven) || call.Authority != trust.None || call.User != "" {
				t.Errorf("%v: %s: %+v, %v", mode, name, call, err)
			}
		}
		want := map[seal.Mode]trust.Authority{seal.Pinned: trust.Accepted, seal.Secret: trust.Secret}[mode]
		if call, err := doc.caller(m); err != nil || call != (trust.Call{Machine: "moon", User: "alice", Service: "rx.doc", Authority: want}) {
			t.Errorf("%v: the call is %+v, %v", mode, call, err)
		}
		if _, err := doc.caller(m); err == nil {
			t.Errorf("%v: it counts twice", mode)
		}
		again := moon.vouchFor(t, doc, alice, "rx.doc")
		if _, err := doc.caller(again); err == nil || !bytes.Equal(again.Credential, m.Credential) {
			t.Errorf("%v: a call that is placed again has another credential", mode)
		}

		// The callee starts anew: old ones are void. The caller does: its next one counts, even if the clock has gone back.
		bob := moon.vouchFor(t, doc, moon.passes.give("bob"), "rx.doc")
		doc.voucher = newVoucher(doc.setup.sealing)
		if _, err := doc.caller(bob); err == nil {
			t.Errorf("%v: one of before a restart counts", mode)
		}
		if _, err := doc.caller(moon.vouchFor(t, doc, moon.passes.give("bob"), "rx.doc")); err != nil {
			t.Errorf("%v: after a restart: %v", mode, err)
		}
		ahead := moon.voucher.epoch + uint64(time.Hour)
		if err := os.WriteFile(moon.setup.sealing.identity+".epoch", []byte(fmtUint(ahead)), 0o600); err != nil {
			t.Fatal(err)
		}
		moon.voucher = newVoucher(moon.setup.sealing)
		if moon.voucher.epoch != ahead+1 {
			t.Errorf("%v: the epoch is %d; want %d", mode, moon.voucher.epoch, ahead+1)
		}
		if _, err := doc.caller(moon.vouchFor(t, doc, 0, "date")); err != nil {
			t.Errorf("%v: after the caller's restart: %v", mode, err)
		}

		// A machine that nobody accepted, or whose witness is another's, has no say.
		doc.knows(moon, false)
		call, err := doc.caller(moon.vouchFor(t, doc, moon.passes.give("alice"), "rx.doc"))
		if mode == seal.Pinned && (err != nil || call.Authority != trust.None || call.User != "alice") {
			t.Errorf("a machine met: %+v, %v", call, err)
		}
		eve := sealedKeeper(t, "moon", 3, seal.Pinned) // which does not know the site's secret, either
		eve.knows(doc, false)
		if mode == seal.Secret {
			doc.knows(eve, false) // as a taken-over wire says
		}
		if call, err := doc.caller(eve.vouchFor(t, doc, eve.passes.give("alice"), "rx.doc")); err == nil {
			t.Errorf("%v: eve is %+v", mode, call)
		}
	}
}

func fmtUint(n uint64) string { return strconv.FormatUint(n, 10) }

// A pass is vouched for as the one user that came with it, for one service, at a few machines, for a minute.
func TestVouching(t *testing.T) {
	moon, doc := sealedKeeper(t, "moon", 1, seal.Pinned), sealedKeeper(t, "doc", 2, seal.Pinned)
	moon.knows(doc, false)
	alice := moon.passes.give("alice")
	ask := func(pass uint64, machine, service string) (string, error) {
		user, _, err := moon.credential(&memo{Pass: pass, Machine: machine, Service: service, User: "root", Boot: 7})
		return user, err
	}
	if user, err := ask(alice, "doc", "rx.doc"); user != "alice" || err != nil {
		t.Errorf("%q, %v", user, err)
	}
	if _, err := ask(alice, "doc", "cat.doc"); err != errVisit {
		t.Errorf("for another service: %v", err)
	}
	if _, err := ask(alice+1, "doc", "rx.doc"); err != errVisit {
		t.Errorf("for a pass that nobody has: %v", err)
	}
	if user, err := ask(0, "doc", "rx.doc"); user != "" || err != nil {
		t.Errorf("without a pass: %q, %v", user, err)
	}
	for _, bad := range [][2]string{{"../doc", "rx"}, {"doc", ""}, {"doc", "rx\x00"}, {"mars", "rx.doc"}} {
		if _, err := ask(alice, bad[0], bad[1]); err == nil {
			t.Errorf("%q", bad)
		}
	}
	for i := range 2 * maxTried {
		doc.setup.machine = "m" + fmtUint(uint64(i))
		moon.knows(doc, false)
		if _, err := ask(alice, doc.setup.machine, "rx.doc"); (err == nil) != (i < maxTried-1) {
			t.Errorf("machine %d: %v", i, err)
		}
	}
	late := moon.passes.give("bob")
	moon.passes.names[late].at = time.Now().Add(-visitTime - time.Second)
	if _, err := ask(late, doc.setup.machine, "rx.doc"); err != errVisit {
		t.Errorf("a visitor of long ago: %v", err)
	}
}
