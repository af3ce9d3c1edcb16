"""All transfers of a service: one epoll of their sockets, drained without an await.

Theory of operation. Small files go out of ports that transfers share, larger ones out of a socket
of their own (:mod:`tftp.ports`). All these sockets and the service sockets sit in one private
epoll. An epoll descriptor is itself pollable: one task waits until it is readable, then calls
:meth:`Engine.drain`, which works in plain code until nothing is left or its time slice is over. The
path of an ACK is: poll, receive, one comparison in :class:`~tftp.sender.Sender`, send; on a port
all ACKs that wait there go it together. Everything that happens once a transfer (limits, names,
options, files, reports) is kept off that path; see :mod:`tftp.admission`.

Deadlines are on a wheel, in the tick after each. Nearly no ACK touches it: a transfer that comes up
early is put back at the deadline of that moment.
"""

import errno
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from socket import MSG_DONTWAIT
from typing import TypeAlias

from tftp.flow import NEAR_SECONDS, Flow
from tftp.frames import HEAD
from tftp.listener import Listener
from tftp.mmsg import AT_ONCE
from tftp.names import host_of
from tftp.packets import ErrorCode
from tftp.ports import Port, TransferPorts
from tftp.sockets import Address, send_window, set_fragmenting
from tftp.timer import LEAST_SECONDS
from tftp.transfer import Burst, Ending, Outcome, failure

Report: TypeAlias = Callable[[Mapping[str, object]], None]
Admit: TypeAlias = Callable[[Listener, bytes, bytes, Address, float], None]

SLICE_SECONDS = 0.004  # how long a drain may keep other tasks waiting
LINGER_SECONDS = 0.001  # the least an epoll can wait; an answer on the way is met without a detour
EVENTS_AT_ONCE = 16  # sockets looked at before the time; each may have a call full of datagrams
TICK_SECONDS = 0.01  # how late a deadline is met at worst, if nothing else is late
LATE_TICKS = 10  # how late one is met at worst that an answer moved nearer
WATCHED_SECONDS = 1.0  # a deadline is looked at by then: who ended is held no longer
PORT_CALLS = 8  # that are read of a port, to hear what one peer has said there
ALONE_BLOCKS = 32  # of one transfer before the others are looked at again


class Engine:
    """Runs transfers. ``admit`` is called for each datagram on a service socket."""

    def __init__(self, *, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.flows: dict[bytes, Flow] = {}  # by the peer: it has one at most, the oldest is first
        self.per_host: dict[bytes, int] = {}
        self.unproven: dict[bytes, Flow] = {}  # those to an address that never answered
        self.uploads: dict[bytes, Flow] = {}  # those that receive a file
        self._own: dict[int, Flow] = {}  # those that have a socket, by its descriptor
        self._report = report
        self._admit: Admit | None = None
        self._listeners: dict[int, Listener] = {}
        self._listening = False
        self._wheel: dict[int, list[Flow]] = {}
        self._tick = int(clock() / TICK_SECONDS)  # the last one that was looked at
        self._untold: list[Callable[[], Mapping[str, object]]] | None = None  # while drained
        self._epoll = select.epoll()
        self.ports = TransferPorts(self._epoll)

    def fileno(self) -> int:
        """The descriptor that is readable when :meth:`drain` has something to do."""
        return self._epoll.fileno()

    def listen(self, listener: Listener, admit: Admit) -> None:
        """Take requests from ``listener``."""
        self._admit = admit
        self._listeners[listener.descriptor] = listener
        self._epoll.register(listener.descriptor, select.EPOLLIN)
        self._listening = True
        self.ports.serve(listener.family)

    def stop_listening(self) -> None:
        """No further requests; running transfers go on, and requests that were taken."""
        if self._listening:
            for descriptor in self._listeners:
                self._epoll.unregister(descriptor)
            self._listening = False

    def close(self) -> None:
        """End everything at once; the peers of what was running are told."""
        self.stop_listening()
        now = self.clock()
        for flow in list(self.flows.values()):
            if flow.transfer.outcome is None:
                error, flow.transfer.outcome = failure(ErrorCode.UNDEFINED, "the server stops")
                with suppress(OSError):
                    self.send(flow, error)
                self._ended(flow, now)
            else:
                self._forget(flow)
        self.flush()
        self.ports.close()
        self._epoll.close()

    def start(self, flow: Flow, now: float) -> None:
        """Take over ``flow`` and send its first packet."""
        self.flows[flow.name] = flow
        if flow.connected is not None:
            self._own[flow.connected.fileno()] = flow
        elif flow.sender is not None:
            flow.port.senders[flow.name] = flow.sender
        self.unproven[flow.name] = flow
        if flow.upload is not None:
            self.uploads[flow.name] = flow
        flow.port.flows += 1
        host = host_of(flow.name)
        self.per_host[host] = self.per_host.get(host, 0) + 1
        self._watch(flow, now + LEAST_SECONDS)
        self._give(flow, flow.transfer.start(now), now)

    def flush(self) -> None:
        """Send what waits for the end of a turn.

        Sent together it wakes a receiver once, and alone each time: that costs more than a send.
        """
        for listener in self._listeners.values():
            listener.flush()
        self.ports.flush()

    def drain(self) -> None:
        """Work off what has arrived, for at most a time slice.

        What is to be reported is reported together afterwards: one after the other each report
        costs half of what it costs between two packets.
        """
        untold: list[Callable[[], Mapping[str, object]]] = []
        self._untold = untold
        try:
            self._drain()
        finally:
            self._untold = None
        for event in untold:
            self._report(event())

    def tell(self, event: Callable[[], Mapping[str, object]]) -> None:
        """Report what ``event`` answers, before this turn is over."""
        if self._untold is None:
            self._report(event())
        else:
            self._untold.append(event)

    def _drain(self) -> None:
        poll, clock = self._epoll.poll, self.clock
        now = clock()
        over = now + SLICE_SECONDS
        lonely = -1  # whose datagram was the only one last time
        events = poll(0, EVENTS_AT_ONCE)
        while events:
            now = clock()
            self._each(events, now)
            self.flush()
            if len(events) == 1:
                descriptor = events[0][0]
                if descriptor == lonely:
                    self._alone(descriptor)
                lonely = descriptor
            if now >= over:
                return
            events = poll(LINGER_SECONDS, EVENTS_AT_ONCE)

    def _each(self, events: list[tuple[int, int]], now: float) -> None:
        """Take a datagram from each transfer's socket that has one, from a port as many as go."""
        own, ports = self._own, self.ports.ports
        for descriptor, what in events:
            flow = own.get(descriptor)
            if flow is None or flow.connected is None:
                port = ports.get(descriptor)
                if port is None:
                    self._requests(descriptor, now)
                    continue
                if what & select.EPOLLERR:
                    self._gone(port, now)
                self._heard(port, now)
                continue
            try:
                datagram = flow.connected.recv(flow.recv_size, MSG_DONTWAIT)
                sender = flow.sender
                # Sender.receive for nearly every ACK, in line: a call costs more than this
                if sender is not None and datagram == sender.expected:
                    position = sender.position + 1
                    if position < sender.limit:
                        sender.position = position
                        sender.expected = sender.acks[position]
                        sender.sent_at = now
                        flow.connected.send(sender.frames[position], MSG_DONTWAIT)
                        continue
            except OSError as error:
                self._failed(flow, error, now)
                self._ended(flow, now)
            else:
                self._take(flow, datagram, now)

    def _heard(self, port: Port, now: float) -> int:
        """Take what has come to ``port``, as much as goes into a call; answers how many."""
        inbox = self.ports.inbox(port)
        senders, names, datagrams = port.senders, port.names, port.datagrams
        for n, name, head, length in zip(
            count(), inbox.names, inbox.heads, inbox.lengths, strict=False
        ):
            sender = senders.get(name)
            if sender is None:
                if length >= HEAD:
                    port.stranger(name, head)
                continue
            # as in _each
            if head == sender.expected and length == HEAD:
                position = sender.position + 1
                if position < sender.limit:
                    sender.position = position
                    sender.expected = sender.acks[position]
                    sender.sent_at = now
                    names.append(name)
                    datagrams.append(sender.frames[position])
                    continue
            self._take(self.flows[name], inbox.datagram(n), now)
        self.ports.filled.add(port)
        return len(inbox.names)

    def _gone(self, port: Port, now: float) -> None:
        """End the transfers whose peers closed their ports, once what they said before is heard."""
        gone = port.gone()
        if gone:
            self._hear_port(port, now)
        for name in gone:
            flow = self.flows.get(name)
            if flow is not None and flow.port is port:
                port.unsay(name)
                flow.transfer.gone()
                self._ended(flow, now)

    def _take(self, flow: Flow, datagram: bytes, now: float) -> None:
        """Give the core a datagram of ``flow`` and send what it answers."""
        burst = flow.transfer.receive(datagram, now)
        if flow.name in self.unproven and flow.transfer.proven:
            del self.unproven[flow.name]
        self._give(flow, burst, now)
        if flow.tick - self._tick > LATE_TICKS and not flow.over:
            due = flow.transfer.deadline
            if flow.tick - int(due / TICK_SECONDS) > LATE_TICKS:
                self._watch(flow, due)

    def _give(self, flow: Flow, burst: Burst, now: float) -> None:
        """Send ``burst``, and end ``flow`` if its core did."""
        try:
            self.send(flow, burst)
        except OSError as error:
            self._failed(flow, error, now)
        self._ended(flow, now)

    def hear(self, flow: Flow, now: float) -> None:
        """Take what the peer of ``flow`` has said so far, before its turn comes."""
        if flow.connected is None:
            self._gone(flow.port, now)
            self._hear_port(flow.port, now)
            return
        for _ in range(ALONE_BLOCKS):
            if flow.transfer.outcome is not None:
                return
            try:
                datagram = flow.connected.recv(flow.recv_size, MSG_DONTWAIT)
            except OSError as error:
                self._failed(flow, error, now)
                self._ended(flow, now)
                return
            self._take(flow, datagram, now)

    def _hear_port(self, port: Port, now: float) -> None:
        for _ in range(PORT_CALLS):
            if self._heard(port, now) < AT_ONCE:
                return

    def _failed(self, flow: Flow, error: OSError, now: float) -> None:
        """A closed port ends a transfer; anything else may have passed when its timer comes."""
        connected = flow.connected
        if connected is None:
            return
        if isinstance(error, ConnectionRefusedError):
            with suppress(OSError):  # the kernel tells it before what the peer said until then
                for _ in range(ALONE_BLOCKS):
                    flow.transfer.receive(connected.recv(flow.recv_size, MSG_DONTWAIT), now)
            flow.transfer.gone()
        elif error.errno == errno.EMSGSIZE:
            set_fragmenting(connected, allowed=True)  # the path is narrower than it was

    def _alone(self, descriptor: int) -> None:
        """Nobody else has anything: wait in the recv of one near peer, one call less a block."""
        flow = self._own.get(descriptor)
        if flow is None or flow.connected is None:
            return
        recv, clock = flow.connected.recv, self.clock
        now = clock()
        for _ in range(ALONE_BLOCKS):
            if flow.over or not flow.near():
                return
            try:
                datagram = recv(flow.recv_size, 0)
            except OSError as error:
                self._failed(flow, error, now)
                self._ended(flow, now)
                return
            before, now = now, clock()
            self._take(flow, datagram, now)
            if now - before > NEAR_SECONDS:
                return  # others have waited with us

    def sweep(self) -> None:
        """Retransmit, or end, what is due."""
        now = self.clock()
        self._tick = int(now / TICK_SECONDS)
        for tick in sorted(tick for tick in self._wheel if tick <= self._tick):
            for flow in self._wheel.pop(tick, ()):
                if flow.tick != tick:
                    continue  # it is watched at another
                if not flow.over and flow.transfer.deadline <= now:
                    self.hear(flow, now)  # what came in time counts, if we were late
                if flow.over or (flow.transfer.deadline <= now and not self._waited(flow, now)):
                    continue
                self._watch(flow, min(flow.transfer.deadline, now + WATCHED_SECONDS))
        self.flush()

    def _watch(self, flow: Flow, due: float) -> None:
        flow.tick = max(self._tick, int(due / TICK_SECONDS)) + 1
        self._wheel.setdefault(flow.tick, []).append(flow)

    def _waited(self, flow: Flow, now: float) -> bool:
        """The wait of ``flow`` ended without an answer; whether it goes on."""
        if flow.transfer.outcome is not None:
            self._forget(flow)
        else:
            self._give(flow, flow.transfer.timeout(now), now)
        # one that stays for a repeated last DATA has a deadline still
        return not flow.over

    def send(self, flow: Flow, burst: Burst) -> None:
        """Send what a transfer answered; what finds no room is left to its timer."""
        connected = flow.connected
        try:
            if isinstance(burst, bytes):
                if not burst:
                    return
                if connected is None:
                    self.ports.put(flow.port, flow.name, burst)
                else:
                    connected.send(burst, MSG_DONTWAIT)
            elif flow.sender is not None and connected is not None:
                send_window(connected, burst, flow.sender.segment)
        except BlockingIOError:
            return

    def supersede(self, flow: Flow, now: float) -> None:
        """End ``flow`` because its peer began something else."""
        if flow.transfer.outcome is not None:
            self._forget(flow)
            return
        flow.port.unsay(flow.name)
        flow.transfer.outcome = Outcome(Ending.GONE, "the peer began another request")
        self._ended(flow, now)

    def make_room(self, among: dict[bytes, Flow], now: float) -> bool:
        """End the oldest transfer of ``among`` whose peer never answered, if there is one."""
        for name, flow in among.items():
            if name in self.unproven:
                give_way = Outcome(Ending.TIMED_OUT, "never answered, gave way to another")
                flow.transfer.outcome = give_way
                self._ended(flow, now)
                return True
        return False

    def _requests(self, descriptor: int, now: float) -> None:
        listener = self._listeners.get(descriptor)
        if listener is None or self._admit is None:
            return
        for datagram, name, asked in listener.receive():
            self._admit(listener, datagram, name, asked, now)

    def _ended(self, flow: Flow, now: float) -> None:
        """Report a transfer once; one that received a file stays for a repeated last DATA."""
        transfer = flow.transfer
        if flow.content is None and flow.upload is None:
            return
        outcome = transfer.outcome
        if outcome is None:
            return
        dallies = flow.upload is not None and outcome.ending is Ending.DONE
        if dallies:
            flow.upload = None
            del self.uploads[flow.name]
        else:
            self._forget(flow)
        self.tell(partial(flow.event, outcome, now))

    def _forget(self, flow: Flow) -> None:
        flow.over = True
        del self.flows[flow.name]
        self.unproven.pop(flow.name, None)
        self.uploads.pop(flow.name, None)
        flow.port.flows -= 1
        if not self.flows:
            self._wheel.clear()  # nothing keeps a content until the next transfer
        flow.port.served.add(flow.name)
        if flow.connected is None:
            del flow.port.senders[flow.name]
        else:
            del self._own[flow.connected.fileno()]
            flow.connected.close()
        host = host_of(flow.name)
        left = self.per_host[host] - 1
        if left:
            self.per_host[host] = left
        else:
            del self.per_host[host]
        flow.close()
