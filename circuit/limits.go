package circuit

// Limits of the door (protocol.md 4 and 5).
const (
	MaxDatagram  = 65535 // octets of one record of data, without the control byte
	MaxInterrupt = 32    // octets of one interrupt
	MaxLine      = 2048  // octets of one line of the door, of an interrupt with its octets
	MaxText      = 256   // octets of a text that explains; a longer one is cut

	maxFds        = 3  // descriptors that come with one line
	maxInterrupts = 16 // interrupts received and not yet taken; the oldest gives way
)
