package session

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestModesOpcodes: typed from RFC 4254, section 8.
func TestModesOpcodes(t *testing.T) {
	var modes unix.Termios
	modes.Cc[unix.VINTR], modes.Cc[unix.VEOF], modes.Cc[unix.VSUSP] = 3, 4, 26
	modes.Iflag, modes.Oflag, modes.Lflag = unix.ICRNL|unix.IUTF8, unix.OPOST|unix.ONLCR, unix.ISIG|unix.ICANON|unix.ECHO
	got := map[byte]uint32{}
	b := AppendModes(nil, &modes)
	for ; len(b) >= 5; b = b[5:] {
		got[b[0]] = binary.BigEndian.Uint32(b[1:])
	}
	if len(b) != 1 || b[0] != 0 {
		t.Errorf("the list ends with %x, not TTY_OP_END", b)
	}
	for opcode, want := range map[byte]uint32{
		1: 3, 5: 4, 10: 26, 2: 255, // VINTR, VEOF, VSUSP; VQUIT is off
		36: 1, 42: 1, 38: 0, // ICRNL, IUTF8; IXON is off
		50: 1, 51: 1, 53: 1, 59: 0, // ISIG, ICANON, ECHO; IEXTEN is off
		70: 1, 72: 1, 75: 0, // OPOST, ONLCR; ONLRET is off
	} {
		if v, ok := got[opcode]; v != want || !ok {
			t.Errorf("opcode %d has the value %d, want %d", opcode, v, want)
		}
	}
	if len(AppendModes(nil, &modes)) > MaxModes {
		t.Error("longer than MaxModes")
	}
}

func TestModesThereAndBack(t *testing.T) {
	want := unix.Termios{
		Iflag: unix.IXON | unix.IGNPAR | unix.INLCR, Oflag: unix.OPOST | unix.OCRNL, Lflag: unix.ECHOE | unix.TOSTOP | unix.NOFLSH,
	}
	for i := range 17 {
		want.Cc[i] = byte(i * 9)
	}
	got := unix.Termios{Iflag: ^uint32(0) &^ unix.IGNBRK &^ unix.BRKINT, Oflag: unix.ONLCR, Lflag: unix.ICANON | unix.ECHO}
	copy(got.Cc[:], []byte{1, 2, 3})
	got.Cc[unix.VTIME], got.Cc[unix.VMIN] = want.Cc[unix.VTIME], want.Cc[unix.VMIN] // those are of programs, not of users
	if err := ApplyModes(&got, AppendModes(nil, &want)); err != nil {
		t.Fatal(err)
	}
	if got.Oflag != want.Oflag || got.Lflag != want.Lflag || got.Iflag&0x7fff != want.Iflag || got.Cc != want.Cc {
		t.Errorf("read as %+v, want %+v", got, want)
	}
}

func TestModesOfOthers(t *testing.T) {
	for what, row := range map[string]struct {
		octets string
		echo   bool
		err    bool
	}{
		"nothing":                        {"", true, false},
		"echo off":                       {"\x35\x00\x00\x00\x00", false, false},
		"echo off, then the end":         {"\x35\x00\x00\x00\x00\x00", false, false},
		"what follows the end":           {"\x00\x35\x00\x00\x00\x00", true, false},
		"an opcode that Linux lacks":     {"\x0b\x00\x00\x00\x05\x35\x00\x00\x00\x00", false, false},
		"speeds":                         {"\x80\x00\x00\x96\x00\x35\x00\x00\x00\x00", false, false},
		"an opcode of unknown length":    {"\xa0\x35\x00\x00\x00\x00", true, false},
		"a value that is cut short":      {"\x35\x00\x00\x00", true, true},
		"another value than 1":           {"\x35\x80\x00\x00\x00", true, false},
		"a character that is out of all": {"\x01\xff\xff\xff\xff", true, false},
	} {
		modes := unix.Termios{Lflag: unix.ECHO}
		err := ApplyModes(&modes, []byte(row.octets))
		if (err != nil) != row.err || modes.Lflag&unix.ECHO != 0 != row.echo || modes.Cc[unix.VINTR] != 0 {
			t.Errorf("%s: %v, modes %+v", what, err, modes)
		}
	}
}

func FuzzModes(f *testing.F) {
	f.Add(AppendModes(nil, &unix.Termios{Lflag: unix.ECHO}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var once, twice unix.Termios
		if ApplyModes(&once, b) != nil {
			return
		}
		if err := ApplyModes(&twice, AppendModes(nil, &once)); err != nil || once != twice {
			t.Fatalf("%+v is read again as %+v, %v", once, twice, err)
		}
	})
}

func TestSize(t *testing.T) {
	s := Size{Rows: 24, Cols: 80, X: 0x102, Y: 0xfffe}
	b := s.Append(nil)
	if string(b) != "\x00\x18\x00\x50\x01\x02\xff\xfe" {
		t.Errorf("written as %x", b)
	}
	if got, ok := ParseSize(b); got != s || !ok {
		t.Errorf("read as %+v", got)
	}
	if _, ok := ParseSize(b[:7]); ok {
		t.Error("half a size is taken")
	}
}
