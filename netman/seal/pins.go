package seal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Pin is a machine's name and the keys that it has.
type Pin struct {
	Machine  string
	Key      Key    // of its links, which it proves
	Witness  Key    // of its keeper, as it says under that key; zero: it says none
	Accepted bool   // by an administrator: trust rules may match it. A pin without is continuity, not authority
	How      string // how it was learnt: "met", "added", "replaced"
}

// Keys is the printed form of both keys.
func (p Pin) Keys() string { return FormatKeys(p.Key, p.Witness) }

// Pins is the table of the machines known, by name.
type Pins struct {
	all     map[string]Pin
	refused map[string]Pin // keys that machines proved last, other than the pinned ones
	strict  bool
	limit   int
}

func newPins(all []Pin, strict bool, limit int) *Pins {
	p := &Pins{all: map[string]Pin{}, refused: map[string]Pin{}, strict: strict, limit: limit}
	for _, pin := range all {
		p.all[pin.Machine] = pin
	}
	return p
}

// Why a machine is not the one it says it is. Refusals (protocol.md 2) carry them as numbers.
var (
	ErrChanged = errors.New("its key is not the one that is pinned for its name")
	ErrStrict  = errors.New("it is not pinned, and pin is strict")
	ErrFull    = errors.New("too many machines are pinned")
)

// Meet is when a machine has proved a key, and said its witness. A name met for the first time is pinned to both: fresh is true then, and the
// owner keeps the pin.
func (p *Pins) Meet(machine string, key, witness Key) (pin Pin, fresh bool, err error) {
	pin, known := p.all[machine]
	switch {
	case known && pin.Key == key && pin.Witness == witness:
		delete(p.refused, machine)
		return pin, false, nil
	case known || p.strict:
		if _, there := p.refused[machine]; there || len(p.refused) < maxRefused {
			p.refused[machine] = Pin{Machine: machine, Key: key, Witness: witness}
		}
		if known {
			return pin, false, ErrChanged
		}
		return pin, false, ErrStrict
	case len(p.all) >= p.limit:
		return pin, false, ErrFull
	}
	pin = Pin{Machine: machine, Key: key, Witness: witness, How: "met"}
	p.all[machine] = pin
	return pin, true, nil
}

// Get is the pin of a machine.
func (p *Pins) Get(machine string) (Pin, bool) {
	pin, ok := p.all[machine]
	return pin, ok
}

// All lists the pins by name.
func (p *Pins) All() []Pin {
	all := make([]Pin, 0, len(p.all))
	for _, pin := range p.all {
		all = append(all, pin)
	}
	slices.SortFunc(all, func(a, b Pin) int { return cmp.Compare(a.Machine, b.Machine) })
	return all
}

// Set adds a pin or replaces one.
func (p *Pins) Set(pin Pin) error {
	if _, known := p.all[pin.Machine]; !known && len(p.all) >= p.limit {
		return fmt.Errorf("%s: %w", pin.Machine, ErrFull)
	}
	p.all[pin.Machine] = pin
	delete(p.refused, pin.Machine)
	return nil
}

// Forget removes one: the machine is pinned anew when it is next met. False: there was none.
func (p *Pins) Forget(machine string) bool {
	_, known := p.all[machine]
	delete(p.all, machine)
	delete(p.refused, machine)
	return known
}

// Refused has the keys that a machine came with last, if it was refused for them.
func (p *Pins) Refused(machine string) (Pin, bool) {
	pin, ok := p.refused[machine]
	return pin, ok
}
