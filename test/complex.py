"""An echo server of all its callers on one descriptor, from protocol.md 5 (complex servers) and the packets of section 4.

python3 complex.py DOOR SERVICE: every datagram goes back with its marks, an interrupt in capitals; `close` clears the circuit.
"""
import array
import collections
import select
import socket
import sys

RESTART, RESTART_CONFIRM, CALL, ACCEPT, CLEAR, CLEAR_CONFIRM = 0xFB, 0xFF, 0x0B, 0x0F, 0x13, 0x17
RR, RNR, INTERRUPT, INTERRUPT_CONFIRM, RESET, RESET_CONFIRM = 0x01, 0x05, 0x23, 0x27, 0x1B, 0x1F


class Circuit:
    def __init__(self, window):
        self.window = window  # packets that may be outstanding
        self.begin()

    def begin(self):
        self.vs = self.acked = self.vr = 0  # V(S), the last P(R) received, V(R)
        self.echo = collections.deque()  # received and not sent back: octets, Q, M


def listen(door, service):
    """Registers the service: the connection, which keeps the name, and the descriptor of its packets."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    name.connect(door)
    name.send(b"dnet1 listen " + service.encode() + b" complex=1")
    fds = array.array("i")
    line, ancillary, _, _ = name.recvmsg(2048, socket.CMSG_SPACE(fds.itemsize))
    if not line.startswith(b"ok"):
        sys.exit(line.decode())
    fds.frombytes(ancillary[0][2])
    return name, socket.socket(fileno=fds[0])


class Server:
    def __init__(self, packets):
        self.packets = packets
        self.circuits = {}
        self.out = collections.deque()  # packets to be written

    def send(self, lci, kind, rest=b"", gfi=0x20):
        self.out.append(bytes([gfi | lci >> 8, lci & 255, kind]) + rest)

    def handle(self, packet):
        lci, kind = (packet[0] & 15) << 8 | packet[1], packet[2]
        circuit = self.circuits.get(lci)
        if kind == RESTART:
            self.circuits.clear()
            self.send(0, RESTART_CONFIRM)
        elif kind == CALL:
            self.call(lci, packet)
        elif kind == CLEAR:
            self.circuits.pop(lci, None)
            self.send(lci, CLEAR_CONFIRM)
        elif kind == CLEAR_CONFIRM or circuit is None:
            pass
        elif kind & 1 == 0:
            self.data(lci, circuit, packet)
        elif kind in (RR, RNR):
            circuit.acked = packet[3] >> 1
            self.pump(lci, circuit)
        elif kind == INTERRUPT:
            self.send(lci, INTERRUPT_CONFIRM)
            self.send(lci, INTERRUPT, packet[3:].upper())
        elif kind == RESET:
            circuit.begin()
            self.send(lci, RESET_CONFIRM)

    def call(self, lci, packet):
        at = 4 + ((packet[3] >> 4) + (packet[3] & 15) + 1) // 2  # after the addresses, of which there are none
        facilities = packet[at + 1 : at + 1 + packet[at]]
        window = 2
        rest = facilities
        while rest and rest[0] != 0:  # up to dnet's own
            if rest[0] == 0x43:
                window = rest[1]  # from the called DTE: this program
            rest = rest[2 + (rest[0] >> 6) :] if rest[0] < 0xC0 else rest[2 + rest[1] :]
        self.circuits[lci] = Circuit(window)
        self.send(lci, ACCEPT, b"\0" + bytes([len(facilities)]) + facilities)  # agreed to as they are

    def data(self, lci, circuit, packet):
        circuit.acked = packet[3] >> 1
        circuit.vr = (circuit.vr + 1) & 127
        if packet[4:] == b"close":
            del self.circuits[lci]
            self.send(lci, CLEAR, b"\x00\x42\0\0as you wish")
            return
        circuit.echo.append((packet[4:], packet[0] & 0x80, packet[3] & 1))
        self.pump(lci, circuit)

    def pump(self, lci, circuit):
        """Sends back while the window is open. P(R) covers what went back, so that the caller's window is this one's."""
        while circuit.echo and (circuit.vs - circuit.acked) & 127 < circuit.window:
            octets, q, m = circuit.echo.popleft()
            pr = (circuit.vr - len(circuit.echo)) & 127
            self.send(lci, circuit.vs << 1, bytes([pr << 1 | m]) + octets, 0x20 | q)
            circuit.vs = (circuit.vs + 1) & 127

    def run(self):
        self.packets.setblocking(False)
        while True:
            readable, _, _ = select.select([self.packets], [self.packets] if self.out else [], [])
            if readable:
                packet = self.packets.recv(1 << 16)
                if not packet:
                    sys.exit("netman is gone")
                self.handle(packet)
            try:
                while self.out:
                    self.packets.send(self.out[0])
                    self.out.popleft()
            except BlockingIOError:
                pass


if __name__ == "__main__":
    name, packets = listen(sys.argv[1], sys.argv[2])
    print("listening", flush=True)
    Server(packets).run()
