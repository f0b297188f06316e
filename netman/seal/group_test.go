package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func groupDesk(t testing.TB, seed uint64, texts ...string) *Desk {
	cfg := Config{Mode: Secret, Identity: identity(t, seed), Rand: random(seed), BootID: seed}
	for _, text := range texts {
		cfg.Secrets = append(cfg.Secrets, secret(t, text))
	}
	return NewDesk(cfg)
}

// groupFrame is a query of a station at an address.
func groupFrame(d *Desk, from [6]byte, pdu string) []byte {
	b := append([]byte{3, 0x44, 0x4e, 0x45, 0x54, 0}, from[:]...)
	b = append(b, 0x88, 0xb5)
	b = binary.BigEndian.AppendUint16(b, uint16(len(pdu)+GroupOverhead))
	return d.SealGroup(append(b, 0x12), []byte(pdu))
}

// TestGroup: who knows the secret opens it, once, and nothing older after it.
func TestGroup(t *testing.T) {
	a, b := groupDesk(t, 1, siteText), groupDesk(t, 2, siteText)
	frames := make([][]byte, 5)
	for i := range frames {
		frames[i] = groupFrame(a, low, "who has netman.doc?")
		if len(frames[i]) != HeaderLen+19+GroupOverhead {
			t.Fatalf("%d octets", len(frames[i]))
		}
	}
	for _, step := range []struct {
		frame int
		err   error
	}{{0, nil}, {0, ErrReplayed}, {3, nil}, {2, ErrReplayed}, {3, ErrReplayed}, {4, nil}, {0, ErrReplayed}} {
		pdu, err := b.OpenGroup(low, nil, frames[step.frame])
		if !errors.Is(err, step.err) || err == nil && string(pdu) != "who has netman.doc?" {
			t.Errorf("frame %d: %q, %v; expected %v", step.frame, pdu, err, step.err)
		}
	}
	// The sender starts anew: another salt and key. What it said before is refused from then on.
	again := groupDesk(t, 3, siteText)
	if _, err := b.OpenGroup(low, nil, groupFrame(again, low, "hello")); err != nil {
		t.Errorf("a new start: %v", err)
	}
	// Recordings of the former start are refused, and what of it was never heard does not keep the present one from being heard.
	if _, err := b.OpenGroup(low, nil, frames[4]); !errors.Is(err, ErrReplayed) {
		t.Errorf("a recording of a former start: %v", err)
	}
	b.OpenGroup(low, nil, groupFrame(a, low, "never heard before"))
	for range 10 {
		if _, err := b.OpenGroup(low, nil, groupFrame(again, low, "hello")); err != nil {
			t.Errorf("the present start after a recording of a former one: %v", err)
		}
	}
	for i := range uint64(100) {
		b.OpenGroup(low, nil, groupFrame(groupDesk(t, 100+i, siteText), low, "x"))
	}
	if n := len(b.group.senders[low].starts); n != maxStarts {
		t.Errorf("%d starts are kept", n)
	}
}

// TestGroupForged: no octet can be changed; a station without the secret opens nothing; an address cannot be changed.
func TestGroupForged(t *testing.T) {
	a, b, stranger := groupDesk(t, 1, siteText), groupDesk(t, 2, siteText), groupDesk(t, 3, otherText)
	frame := groupFrame(a, low, "who has netman.doc?")
	for i := range frame {
		bad := bytes.Clone(frame)
		bad[i] ^= 1
		if _, err := b.OpenGroup(low, nil, bad); err == nil {
			t.Fatalf("octet %d changed, and it is taken", i)
		}
		if _, err := b.OpenGroup(low, nil, frame[:i]); err == nil {
			t.Fatalf("%d octets are taken", i)
		}
	}
	if _, err := stranger.OpenGroup(low, nil, frame); !errors.Is(err, ErrSecret) {
		t.Errorf("a stranger: %v", err)
	}
	if len(b.group.senders) != 0 || len(stranger.group.senders) != 0 {
		t.Error("a forged frame is remembered")
	}
}

// TestGroupSecrets: the old and the new secret are both taken while they change.
func TestGroupSecrets(t *testing.T) {
	a, b := groupDesk(t, 1, siteText), groupDesk(t, 2, otherText, siteText)
	if _, err := b.OpenGroup(low, nil, groupFrame(a, low, "old")); err != nil {
		t.Error(err)
	}
	a.SetSecrets([]SiteSecret{secret(t, otherText), secret(t, siteText)})
	if pdu, err := b.OpenGroup(low, nil, groupFrame(a, low, "new")); err != nil || string(pdu) != "new" {
		t.Errorf("%q, %v", pdu, err)
	}
	if _, err := a.OpenGroup(high, nil, groupFrame(b, high, "back")); err != nil {
		t.Error(err)
	}
}

// TestGroupSenders: the table of senders is bounded.
func TestGroupSenders(t *testing.T) {
	b := groupDesk(t, 2, siteText)
	for i := range maxSenders + 500 {
		a := groupDesk(t, uint64(10+i), siteText)
		from := [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)}
		if _, err := b.OpenGroup(from, nil, groupFrame(a, from, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.group.senders) != maxSenders || len(b.group.order) != maxSenders {
		t.Errorf("%d senders, %d in order", len(b.group.senders), len(b.group.order))
	}
}

// TestSecretLength: a password is no secret.
func TestSecretLength(t *testing.T) {
	if _, err := NewSiteSecret([]byte("swordfish")); err == nil {
		t.Error("nine octets are taken")
	}
	if _, err := NewSiteSecret(make([]byte, LeastSecret)); err != nil {
		t.Error(err)
	}
}
