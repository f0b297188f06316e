package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func witness(t testing.TB, n byte) Witness {
	_, w, err := FromSeed([32]byte{n})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Of one seed come two keys that tell nothing of each other; what is pinned names both.
func TestSeed(t *testing.T) {
	link, w, err := FromSeed([32]byte{1})
	if err != nil || link.Key == w.Key {
		t.Fatalf("%v: the link's key is %v, the witness %v", err, link.Key, w.Key)
	}
	text := FormatKeys(link.Key, w.Key)
	if a, b, err := ParseKeys(text); err != nil || a != link.Key || b != w.Key || len(text) != 43+1+43 {
		t.Errorf("%q is read as %v and %v, %v", text, a, b, err)
	}
	for _, bad := range []string{"", ".", link.Key.String(), link.Key.String() + ".", text + "A", text + "." + text, text[:42] + "!" + text[43:]} {
		if _, _, err := ParseKeys(bad); err == nil {
			t.Errorf("%q is taken for a machine's keys", bad)
		}
	}
}

// A credential holds for the call that it was made for, between the two machines that it was made for, and for nothing else.
func TestCredential(t *testing.T) {
	grumpy, sneezy, eve := witness(t, 1), witness(t, 2), witness(t, 3)
	site, other := secret(t, "the keepers of one site all know it"), secret(t, "the keepers of another site know this")
	claim := Claim{Caller: "grumpy", Callee: "sneezy", Boot: 7, Service: "rx.sneezy", User: "alice", Stream: true, Epoch: 100, Counter: 3}
	made, err := grumpy.Vouch(sneezy.Key, &site, &claim)
	if err != nil || len(made) != CredentialLen || !bytes.HasPrefix(made, []byte{0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 3}) {
		t.Fatalf("%x, %v", made, err)
	}
	says := claim
	says.Epoch, says.Counter = 0, 0
	if err := sneezy.Check(grumpy.Key, &site, &says, made); err != nil || says != claim {
		t.Fatalf("%+v, %v", says, err)
	}
	for name, wrong := range map[string]func(c *Claim){
		"another user": func(c *Claim) { c.User = "root" }, "no user": func(c *Claim) { c.User = "" },
		"another service": func(c *Claim) { c.Service = "rx" }, "a caller of another name": func(c *Claim) { c.Caller = "doc" },
		"another machine": func(c *Claim) { c.Callee = "doc" }, "before a restart": func(c *Claim) { c.Boot = 8 },
		"no stream": func(c *Claim) { c.Stream = false }, "shifted names": func(c *Claim) { c.Service, c.User = "rx.sneezya", "lice" },
	} {
		says := claim
		wrong(&says)
		if err := sneezy.Check(grumpy.Key, &site, &says, made); !errors.Is(err, ErrCredential) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range made {
		bent := bytes.Clone(made)
		bent[i] ^= 0x10
		says := claim
		if err := sneezy.Check(grumpy.Key, &site, &says, bent); !errors.Is(err, ErrCredential) {
			t.Errorf("octet %d bent: %v", i, err)
		}
	}
	says = claim
	if err := sneezy.Check(grumpy.Key, &other, &says, made); !errors.Is(err, ErrCredential) {
		t.Errorf("of another site: %v", err)
	}
	half, err := SiteSecretOf(site.ForWire())
	if forged, _ := grumpy.Vouch(sneezy.Key, &half, &claim); err != nil || bytes.Equal(forged, made) {
		t.Errorf("what the wire knows of the site secret makes credentials: %v", err)
	}
	if err := sneezy.Check(eve.Key, &site, &says, made); !errors.Is(err, ErrCredential) {
		t.Errorf("under another witness: %v", err)
	}
	for _, cut := range [][]byte{made[:47], append(bytes.Clone(made), 0), {1}} {
		if err := sneezy.Check(grumpy.Key, &site, &says, cut); !errors.Is(err, ErrCredential) {
			t.Errorf("%d octets: %v", len(cut), err)
		}
	}
	if err := sneezy.Check(grumpy.Key, &site, &says, nil); !errors.Is(err, ErrNoCredential) {
		t.Errorf("none: %v", err)
	}
	if _, err := grumpy.Vouch(Key{}, nil, &claim); err == nil {
		t.Error("for a machine without a witness")
	}
	var nobody Witness
	if _, err := nobody.Vouch(sneezy.Key, nil, &claim); err == nil {
		t.Error("without a witness of its own")
	}
}

// The octets of a credential, as protocol.md 4 has them.
func TestCredentialVector(t *testing.T) {
	grumpy, sneezy := witness(t, 1), witness(t, 2)
	made, err := grumpy.Vouch(sneezy.Key, nil, &Claim{
		Caller: "grumpy", Callee: "sneezy", Boot: 0x99aabbccddeeff00, Service: "rx.sneezy", User: "alice", Epoch: 0x1700000000000000, Counter: 1,
	})
	want := "17000000000000000000000000000001" +
		"90ecc8a059e641417d11903af1e5f151f1888b1c26232512ffffd4ce63befbdd"
	if got := hex.EncodeToString(made); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// Each credential is taken once, in whatever order; one of an earlier epoch, or too far behind, never.
func TestOnce(t *testing.T) {
	var o Once
	for _, row := range []struct {
		epoch, counter uint64
		ok             bool
	}{
		{5, 1, true}, {5, 1, false}, {5, 3, true}, {5, 2, true}, {5, 2, false}, {5, 3, false}, {4, 9, false},
		{5, onceWindow, true}, {5, onceWindow + 3, true}, {5, 3, false}, {5, 4, true}, {5, onceWindow + 2, true}, {5, onceWindow + 3, false},
		{5, 10 * onceWindow, true}, {5, 10*onceWindow - onceWindow, false}, {5, 10*onceWindow - onceWindow + 1, true}, {5, 10*onceWindow - 1, true},
		{5, ^uint64(0), true}, {5, ^uint64(0), false}, {5, ^uint64(0) - 1, true},
		{6, 2, true}, {6, 2, false}, {6, 1, true}, {5, 20 * onceWindow, false}, {6, 0, true}, {6, 0, false},
	} {
		if err := o.Take(row.epoch, row.counter); (err == nil) != row.ok {
			t.Errorf("epoch %d counter %d: %v; want %v", row.epoch, row.counter, err, row.ok)
		}
	}
}

// BenchmarkCredential is what a call costs the keepers of both sides together.
func BenchmarkCredential(b *testing.B) {
	grumpy, sneezy := witness(b, 1), witness(b, 2)
	claim := Claim{Caller: "grumpy", Callee: "sneezy", Service: "rx.sneezy", User: "alice"}
	for b.Loop() {
		made, _ := grumpy.Vouch(sneezy.Key, nil, &claim)
		if err := sneezy.Check(grumpy.Key, nil, &claim, made); err != nil {
			b.Fatal(err)
		}
	}
}
