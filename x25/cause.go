package x25

import "fmt"

// Cause is the first reason octet of a clear, reset or restart (ISO 8208 tables 6, 8, 10; use in dnet: protocol.md 4).
// The constants and String are those of a clear.
type Cause uint8

// Clearing causes.
const (
	CauseDTE             Cause = 0x00 // the program closed, or refused
	CauseBusy            Cause = 0x01
	CauseInvalidFacility Cause = 0x03
	CauseCongestion      Cause = 0x05 // no memory, no channel
	CauseOutOfOrder      Cause = 0x09 // link or machine gone
	CauseBarred          Cause = 0x0b // not allowed
	CauseNotObtainable   Cause = 0x0d // no such service or machine
	CauseRemoteProcedure Cause = 0x11 // the peer broke the protocol
	CauseLocalProcedure  Cause = 0x13 // the peer says that this side did
	CauseGateway         Cause = 0x15
	CauseReverseCharging Cause = 0x19
	CauseIncompatible    Cause = 0x21 // no common version or mode
	CauseFastSelect      Cause = 0x29
	CauseShipAbsent      Cause = 0x39
)

// Causes of a reset.
const (
	ResetDTE             Cause = 0x00
	ResetRemoteProcedure Cause = 0x03
	ResetLocalProcedure  Cause = 0x05
	ResetCongestion      Cause = 0x07
)

// Causes of a restart.
const (
	RestartDTE             Cause = 0x00
	RestartLocalProcedure  Cause = 0x01
	RestartCongestion      Cause = 0x03
	RestartNetworkOperable Cause = 0x07
)

var clearText = map[Cause]string{
	CauseDTE: "DTE originated", CauseBusy: "number busy", CauseInvalidFacility: "invalid facility request",
	CauseCongestion: "network congestion", CauseOutOfOrder: "out of order", CauseBarred: "access barred",
	CauseNotObtainable: "not obtainable", CauseRemoteProcedure: "remote procedure error",
	CauseLocalProcedure: "local procedure error", CauseGateway: "RPOA out of order",
	CauseReverseCharging: "reverse charging acceptance not subscribed", CauseIncompatible: "incompatible destination",
	CauseFastSelect: "fast select acceptance not subscribed", CauseShipAbsent: "ship absent",
}

var resetText = map[Cause]string{
	ResetDTE: "DTE originated", 0x01: "out of order", ResetRemoteProcedure: "remote procedure error",
	ResetLocalProcedure: "local procedure error", ResetCongestion: "network congestion", 0x09: "remote DTE operational",
	0x0f: "network operational", 0x11: "incompatible destination", 0x1d: "network out of order",
}

var restartText = map[Cause]string{
	RestartDTE: "DTE originated", RestartLocalProcedure: "local procedure error", RestartCongestion: "network congestion",
	RestartNetworkOperable: "network operational", 0x7f: "registration/cancellation confirmed",
}

// String is the meaning as the cause of a clear.
func (c Cause) String() string { return c.text(KindClear) }

// text is the meaning in a packet of the kind.
func (c Cause) text(k Kind) string {
	table := clearText
	switch k {
	case KindReset:
		table = resetText
	case KindRestart:
		table = restartText
	}
	if s, ok := table[c]; ok {
		return s
	}
	if c >= 0x80 {
		return "DTE originated"
	}
	return fmt.Sprintf("cause %02x", uint8(c))
}

// Diag is the diagnostic code, the second reason octet (ISO 8208 table 14-B).
type Diag uint8

// Diagnostic codes that this package uses, and the two that dnet's programs use (protocol.md 4).
const (
	DiagNone           Diag = 0
	DiagPS             Diag = 1
	DiagPR             Diag = 2
	DiagState          Diag = 16 // + 1..13: packet type invalid for state r1..r3, p1..p7, d1..d3
	DiagUnidentifiable Diag = 33
	DiagUnassigned     Diag = 36
	DiagREJ            Diag = 37
	DiagTooShort       Diag = 38
	DiagTooLong        Diag = 39
	DiagGFI            Diag = 40
	DiagRestartLCI     Diag = 41
	DiagInterruptConf  Diag = 43
	DiagInterrupt      Diag = 44
	DiagCallTimer      Diag = 49
	DiagResetTimer     Diag = 51
	DiagRestartTimer   Diag = 52
	DiagFacilityCode   Diag = 65
	DiagFacility       Diag = 66
	DiagCalledAddress  Diag = 67
	DiagCallingAddress Diag = 68
	DiagFacilityLength Diag = 69
	DiagNoChannel      Diag = 71
	DiagCollision      Diag = 72
	DiagDuplicate      Diag = 73
	DiagQ              Diag = 83
	DiagOperational    Diag = 161
	DiagResources      Diag = 163
	DiagPartial        Diag = 165
	DiagD              Diag = 166
	DiagUndelivered    Diag = 0xf0
	DiagProgramDied    Diag = 0xf1
)

// Table 14-B has 'higher level initiated' for f0 and 'disconnection, normal' for f1; dnet's own meaning, which goes with
// cause 00, is named in their place.
var diagText = map[Diag]string{
	0: "no additional information", 1: "invalid P(S)", 2: "invalid P(R)", 16: "packet type invalid",
	17: "packet type invalid for state r1", 18: "packet type invalid for state r2", 19: "packet type invalid for state r3",
	20: "packet type invalid for state p1", 21: "packet type invalid for state p2", 22: "packet type invalid for state p3",
	23: "packet type invalid for state p4", 24: "packet type invalid for state p5", 25: "packet type invalid for state p6",
	26: "packet type invalid for state p7", 27: "packet type invalid for state d1", 28: "packet type invalid for state d2",
	29: "packet type invalid for state d3", 32: "packet not allowed", 33: "unidentifiable packet",
	34: "call on one-way logical channel", 35: "invalid packet type on a permanent virtual circuit",
	36: "packet on unassigned logical channel", 37: "reject not subscribed to", 38: "packet too short", 39: "packet too long",
	40: "invalid general format identifier", 41: "restart or registration with LCI not 0",
	42: "packet type not compatible with facility", 43: "unauthorized interrupt confirmation", 44: "unauthorized interrupt",
	45: "unauthorized reject", 48: "time expired", 49: "time expired for incoming call",
	50: "time expired for clear indication", 51: "time expired for reset indication", 52: "time expired for restart indication",
	53: "time expired for call deflection", 64: "call set-up, clearing or registration problem",
	65: "facility code not allowed", 66: "facility parameter not allowed", 67: "invalid called address",
	68: "invalid calling address", 69: "invalid facility length", 70: "incoming call barred",
	71: "no logical channel available", 72: "call collision", 73: "duplicate facility requested",
	74: "non-zero address length", 75: "non-zero facility length", 76: "facility not provided when expected",
	77: "invalid DTE facility", 78: "maximum number of redirections exceeded", 80: "miscellaneous",
	81: "improper cause code from DTE", 82: "not aligned octet", 83: "inconsistent Q bit setting", 84: "NUI problem",
	112: "international problem", 113: "remote network problem", 114: "international protocol problem",
	115: "international link out of order", 116: "international link busy", 117: "transit network facility problem",
	118: "remote network facility problem", 119: "international routing problem", 120: "temporary routing problem",
	121: "unknown called DNIC", 122: "maintenance action", 144: "timer expired or retransmission count surpassed",
	145: "timer expired for interrupt", 146: "timer expired for data", 147: "timer expired for reject",
	160: "DTE-specific signal", 161: "DTE operational", 162: "DTE not operational", 163: "DTE resource constraint",
	164: "fast select not subscribed", 165: "invalid partially full data packet", 166: "D-bit procedure not supported",
	167: "registration/cancellation confirmed", 0xf0: "undelivered", 0xf1: "program died",
	242: "disconnection, abnormal", 243: "disconnection, incompatible information in user data",
	244: "connection rejection, transient", 245: "connection rejection, permanent",
	246: "quality of service not available, transient", 247: "quality of service not available, permanent",
	248: "connection rejection, incompatible information in user data",
	249: "connection rejection, unrecognizable protocol identifier in user data", 250: "reset, user resynchronization",
}

func (d Diag) String() string {
	if s, ok := diagText[d]; ok {
		return s
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}
