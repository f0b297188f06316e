package main

import (
	"errors"
	"fmt"
	"log"
	"slices"
	"sync"

	"dnet/netman/seal"
)

// pins are the machines known and the key of each: the keeper's to keep, and the wire's to hold machines to. It is the keyring of the modes
// pinned and secret.
type pins struct {
	k    *keeper
	path string
	file sync.Mutex // of writing it

	// Under k.mu.
	self    string // the keys of this machine
	known   map[string]seal.Pin
	refused map[string]string // the key that a machine was refused for last, by machine
}

// maxPins is how many machines are kept.
const maxPins = 4096

func newPins(k *keeper, s *sealing) *pins {
	p := &pins{k: k, path: s.pins, self: seal.FormatKeys(s.config.Identity.Key, s.witness.Key), known: map[string]seal.Pin{}, refused: map[string]string{}}
	for _, pin := range s.config.Pins {
		p.known[pin.Machine] = pin
	}
	return p
}

// all lists the pins by name; k.mu is held.
func (p *pins) all() (all []seal.Pin) {
	for _, name := range sortedKeys(p.known) {
		all = append(all, p.known[name])
	}
	return all
}

// save writes the file: what is known when it is this one's turn.
func (p *pins) save() error {
	p.file.Lock()
	defer p.file.Unlock()
	p.k.mu.Lock()
	text := formatPins(p.all())
	p.k.mu.Unlock()
	if err := replaceFile(p.path, text); err != nil {
		return fmt.Errorf("pins: %w: the machines met are forgotten when netman ends", err)
	}
	return nil
}

// heard takes what the wire says of a machine's key.
func (p *pins) heard(m *memo) {
	if m.Kind == "met" {
		p.met(m.Machine, m.Key)
	} else if _, _, err := seal.ParseKeys(m.Key); err == nil {
		p.refuse(m.Machine, m.Key)
	}
}

// met keeps a machine that the wire has met for the first time. One that is known stays as it is, whatever the wire says.
func (p *pins) met(machine, text string) {
	key, witness, err := seal.ParseKeys(text)
	if err != nil {
		return
	}
	p.k.mu.Lock()
	_, known := p.known[machine]
	full := len(p.known) >= maxPins
	if !known && !full {
		p.known[machine] = seal.Pin{Machine: machine, Key: key, Witness: witness, How: "met"}
	}
	p.k.mu.Unlock()
	if known || full {
		return
	}
	log.Printf("met machine %s for the first time, with the key %s", machine, text)
	if err := p.save(); err != nil {
		log.Print(err)
	}
}

// refuse notes the key that a machine was refused for.
func (p *pins) refuse(machine, key string) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	if _, known := p.known[machine]; known {
		p.refused[machine] = key
	}
}

// accepted says whether an administrator has accepted the pin of a machine: one that was only met has continuity, and no authority.
func (p *pins) accepted(machine string) bool {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	return p.known[machine].Accepted
}

// own implements keyring.
func (p *pins) own() string { return p.self }

// pins implements keyring.
func (p *pins) pins() (rows []pinRow) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	for _, pin := range p.all() {
		rows = append(rows, pinRow{
			Machine: pin.Machine, Key: pin.Keys(), Accepted: pin.Accepted, How: pin.How, Refused: p.refused[pin.Machine],
		})
	}
	return rows
}

// pin implements keyring. The wire ends links with a machine of that name and another key.
func (p *pins) pin(row pinRow) error {
	key, witness, err := seal.ParseKeys(row.Key)
	if err != nil {
		return err
	}
	p.k.mu.Lock()
	if _, known := p.known[row.Machine]; !known && len(p.known) >= maxPins {
		p.k.mu.Unlock()
		return fmt.Errorf("%d machines are known already: netman trust forget some", maxPins)
	}
	p.known[row.Machine] = seal.Pin{Machine: row.Machine, Key: key, Witness: witness, Accepted: row.Accepted, How: row.How}
	delete(p.refused, row.Machine)
	p.k.mu.Unlock()
	return errors.Join(p.save(), p.k.line.send(&memo{
		Kind: "pin", Machine: row.Machine, Key: row.Key, Accepted: row.Accepted, How: row.How,
	}))
}

// forget implements keyring.
func (p *pins) forget(machine string) bool {
	p.k.mu.Lock()
	_, known := p.known[machine]
	delete(p.known, machine)
	delete(p.refused, machine)
	p.k.mu.Unlock()
	if known {
		p.k.line.send(&memo{Kind: "unpin", Machine: machine})
		if err := p.save(); err != nil {
			log.Print(err)
		}
	}
	return known
}

func pinMemo(pin seal.Pin) *memo {
	return &memo{Kind: "pin", Machine: pin.Machine, Key: pin.Keys(), Accepted: pin.Accepted, How: pin.How}
}

// wireSeal is what the wire is told of keys. The private key of the machine's links is among it: whoever takes the wire over can open links as
// this machine until the key is replaced (doc/security.md). The witness's is not, nor what makes credentials of the site secrets.
type wireSeal struct {
	Mode    seal.Mode `json:"mode"`
	Private []byte    `json:"private"`
	Witness seal.Key  `json:"witness"`
	Strict  bool      `json:"strict"`
	Secrets [][]byte  `json:"secrets"`
}

func (s *sealing) forWire() *wireSeal {
	if s == nil {
		return nil
	}
	private := s.config.Identity.Private()
	w := &wireSeal{Mode: s.config.Mode, Private: private[:], Witness: s.witness.Key, Strict: s.config.Strict}
	for i := range s.config.Secrets {
		w.Secrets = append(w.Secrets, s.config.Secrets[i].ForWire())
	}
	return w
}

// tellPins tells the wire which machines are known.
func (k *keeper) tellPins() error {
	if k.pins == nil {
		return nil
	}
	k.mu.Lock()
	all := k.pins.all()
	k.mu.Unlock()
	for _, pin := range all {
		if err := k.line.send(pinMemo(pin)); err != nil {
			return err
		}
	}
	return nil
}

// reloadSecrets reads the site secrets again, so that a new one can be brought in without ending anything. The mode stays.
func (k *keeper) reloadSecrets(st *servtab) error {
	s, err := st.sealing()
	if err == nil && s != nil {
		err = s.unread
	}
	if err != nil {
		return err
	}
	now, then := k.setup.sealing, s
	switch {
	case (now == nil) != (then == nil), now != nil && now.config.Mode != then.config.Mode:
		log.Printf("reload: netman stays in mode %v until it is started anew", k.mode())
	case now != nil && now.config.Mode == seal.Secret:
		k.mu.Lock()
		k.voucher.sites = then.config.Secrets
		k.mu.Unlock()
		return k.line.send(&memo{Kind: "secrets", Seal: then.forWire()})
	}
	return nil
}

// mode is how this netman knows others.
func (k *keeper) mode() seal.Mode {
	if k.setup.sealing == nil {
		return seal.Open
	}
	return k.setup.sealing.config.Mode
}

// siteSecrets are the wire's, of what the keeper has read.
func (w *wireSeal) siteSecrets() (all []seal.SiteSecret, err error) {
	for _, octets := range w.Secrets {
		secret, err := seal.SiteSecretOf(octets)
		if err != nil {
			return nil, err
		}
		all = append(all, secret)
	}
	return slices.Clip(all), nil
}
