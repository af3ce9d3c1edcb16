"""All transfers of a service: one epoll of connected sockets, drained without an await.

Theory of operation. Each transfer has a socket of its own, connected to its peer, so that the
kernel sorts datagrams by transfer, and tells of a peer that went away; strangers reach another
socket on the same port (:mod:`tftp.strangers`). All these sockets and the service sockets sit in
one private epoll. An epoll descriptor is itself pollable: one task waits until it is readable, then
calls :meth:`Engine.drain`, which works in plain code until nothing is left or its time slice is
over. The path of an ACK is: poll, recv, one comparison in :class:`~tftp.sender.Sender`, send.
Everything that happens once a transfer (limits, names, options, files, reports) is kept off that
path; see :mod:`tftp.admission`.

Deadlines are in one heap with an entry a transfer. An ACK does not touch it: an entry that comes up
early is put back with the deadline of that moment.
"""

import heapq
import select
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from socket import MSG_DONTWAIT
from typing import TypeAlias

from tftp.flow import Flow
from tftp.sender import Sender
from tftp.sockets import Address, Listener, send_window
from tftp.strangers import TransferPorts
from tftp.timer import LEAST_SECONDS
from tftp.transfer import Burst, Ending, Outcome

Report: TypeAlias = Callable[[Mapping[str, object]], None]
Admit: TypeAlias = Callable[[Listener, bytes, Address, Address, float], None]

SLICE_SECONDS = 0.004  # how long a drain may keep other tasks waiting
LINGER_SECONDS = 0.001  # the least an epoll can wait; an answer on the way is met without a detour
REQUESTS_AT_ONCE = 64  # taken from a service socket before transfers have their turn
RECHECK_SECONDS = 0.1  # a deadline that an answer moved nearer is noticed this late at worst
HALF_OPEN_LOOKED_AT = 64  # of the oldest transfers
ALONE_BLOCKS = 32  # of one transfer before the others are looked at again


class Engine:
    """Runs transfers. ``admit`` is called for each datagram on a service socket."""

    def __init__(self, *, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.flows: dict[int, Flow] = {}
        self.by_peer: dict[Address, Flow] = {}
        self.per_host: dict[str, int] = {}
        self._report = report
        self._admit: Admit | None = None
        self._listeners: dict[int, Listener] = {}
        self._deadlines: list[tuple[float, int, Flow]] = []
        self._serial = 0
        self._outbox: list[Callable[[], None]] | None = None  # while requests are taken
        self._untold: list[Callable[[], Mapping[str, object]]] | None = None  # while drained
        self._epoll = select.epoll()
        self.ports = TransferPorts(self._epoll)

    def fileno(self) -> int:
        """The descriptor that is readable when :meth:`drain` has something to do."""
        return self._epoll.fileno()

    def listen(self, listener: Listener, admit: Admit) -> None:
        """Take requests from ``listener``."""
        self._admit = admit
        self._listeners[listener.socket.fileno()] = listener
        self._epoll.register(listener.socket.fileno(), select.EPOLLIN)

    def stop_listening(self) -> None:
        """No further requests; running transfers go on."""
        for descriptor in self._listeners:
            self._epoll.unregister(descriptor)
        self._listeners.clear()

    def close(self) -> None:
        """End everything at once."""
        self.stop_listening()
        for flow in list(self.flows.values()):
            self._forget(flow)
        self.ports.close()
        self._epoll.close()

    def start(self, flow: Flow, now: float) -> None:
        """Take over ``flow`` and send its first packet."""
        self.flows[flow.descriptor] = flow
        self.by_peer[flow.peer] = flow
        host = flow.peer[0]
        self.per_host[host] = self.per_host.get(host, 0) + 1
        burst = flow.transfer.start(now)
        if flow.transfer.outcome is not None:
            self._first(flow, burst, now)
            return
        self._serial += 1
        heapq.heappush(self._deadlines, (now + LEAST_SECONDS, self._serial, flow))
        self._out(partial(self._first, flow, burst, now))

    def answer(self, listener: Listener, datagram: bytes, asked: Address, peer: Address) -> None:
        """Send one datagram out of a service socket."""
        self._out(partial(listener.answer, datagram, asked, peer))

    def _out(self, send: Callable[[], None]) -> None:
        """Send at once, or with what else a turn of requests is answered with.

        Sent together it wakes a receiver once, and alone each time: that costs more than a send.
        """
        if self._outbox is None:
            send()
        else:
            self._outbox.append(send)

    def _first(self, flow: Flow, burst: Burst, now: float) -> None:
        if self.flows.get(flow.descriptor) is not flow:
            return  # ended meanwhile, and its socket may be another's
        try:
            self.send(flow, burst)
        except OSError:
            flow.transfer.gone()
        if flow.transfer.outcome is not None:
            self._ended(flow, now)

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
        events = poll(0, 256)
        while events:
            now = clock()
            self._each(events, now)
            if len(events) == 1:
                descriptor = events[0][0]
                if descriptor == lonely:
                    self._alone(descriptor)
                lonely = descriptor
            if now >= over:
                return
            events = poll(LINGER_SECONDS, 256)

    def _each(self, events: list[tuple[int, int]], now: float) -> None:
        """Take one datagram from each socket that has one."""
        flows, hears = self.flows, self.ports.hears
        for descriptor, _ in events:
            flow = flows.get(descriptor)
            if flow is None:
                if not hears(descriptor):
                    self._requests(descriptor, now)
                continue
            try:
                datagram = flow.recv(flow.recv_size, MSG_DONTWAIT)
                sender = flow.sender
                # Sender.receive for nearly every ACK, in line: a call costs more than this
                if sender is not None and datagram == sender.expected:
                    position = sender.position + 1
                    if position < sender.limit:
                        sender.position = position
                        sender.expected = sender.acks[position]
                        sender.sent_at = now
                        flow.send(sender.frames[position], MSG_DONTWAIT)
                        continue
            except OSError as error:
                self._failed(flow, error, now)
            else:
                self._take(flow, datagram, now)

    def _take(self, flow: Flow, datagram: bytes, now: float) -> None:
        """Give the core a datagram of ``flow`` and send what it answers."""
        transfer = flow.transfer
        try:
            self.send(flow, transfer.receive(datagram, now))
        except OSError:
            transfer.gone()
        if transfer.outcome is not None:
            self._ended(flow, now)

    def hear(self, flow: Flow, now: float) -> None:
        """Take what the peer of ``flow`` has said so far, before its turn comes."""
        for _ in range(ALONE_BLOCKS):
            if flow.transfer.outcome is not None:
                return
            try:
                datagram = flow.recv(flow.recv_size, MSG_DONTWAIT)
            except OSError as error:
                self._failed(flow, error, now)
                return
            self._take(flow, datagram, now)

    def _failed(self, flow: Flow, error: OSError, now: float) -> None:
        if not isinstance(error, BlockingIOError):
            flow.transfer.gone()
            self._ended(flow, now)

    def _alone(self, descriptor: int) -> None:
        """Nobody else has anything: wait in the recv of one near peer, one call less a block."""
        for _ in range(ALONE_BLOCKS):
            flow = self.flows.get(descriptor)
            if flow is None or not flow.near():
                return
            try:
                datagram = flow.recv(flow.recv_size, 0)
            except OSError as error:
                self._failed(flow, error, self.clock())
                return
            self._take(flow, datagram, self.clock())

    def sweep(self) -> None:
        """Retransmit, or end, what is due."""
        now = self.clock()
        heap = self._deadlines
        while heap and heap[0][0] <= now:
            _, serial, flow = heap[0]
            due = flow.transfer.deadline
            if self.flows.get(flow.descriptor) is not flow:
                heapq.heappop(heap)
                continue
            if due <= now:
                if not self._waited(flow, now):
                    heapq.heappop(heap)
                    continue
                due = flow.transfer.deadline
            if flow.transfer.timer.smoothed is not None:
                due = min(due, now + RECHECK_SECONDS)
            heapq.heapreplace(heap, (due, serial, flow))

    def _waited(self, flow: Flow, now: float) -> bool:
        """The wait of ``flow`` ended without an answer; whether it goes on."""
        transfer = flow.transfer
        if transfer.outcome is not None:
            self._forget(flow)
            return False
        try:
            self.send(flow, transfer.timeout(now))
        except OSError:
            transfer.gone()
        if transfer.outcome is None:
            return True
        self._ended(flow, now)
        # one that stays for a repeated last DATA has a deadline still
        return self.flows.get(flow.descriptor) is flow

    def send(self, flow: Flow, burst: Burst) -> None:
        """Send what a transfer answered; what finds no room is left to its timer."""
        try:
            if isinstance(burst, bytes):
                if burst:
                    flow.send(burst, MSG_DONTWAIT)
            elif isinstance(flow.transfer, Sender):
                send_window(flow.connected, burst, flow.transfer.segment)
        except BlockingIOError:
            return

    def supersede(self, flow: Flow, now: float) -> None:
        """End ``flow`` because its peer began something else."""
        if flow.transfer.outcome is not None:
            self._forget(flow)
            return
        flow.transfer.outcome = Outcome(Ending.GONE, "the peer began another request")
        self._ended(flow, now)

    def make_room(self, now: float) -> bool:
        """End the oldest transfer whose peer never answered, if one of the first is such."""
        for flow in islice(self.flows.values(), HALF_OPEN_LOOKED_AT):
            sender = flow.sender
            if sender is not None and not sender.proven:
                sender.outcome = Outcome(Ending.TIMED_OUT, "never answered, gave way to another")
                self._ended(flow, now)
                return True
        return False

    def _requests(self, descriptor: int, now: float) -> None:
        listener = self._listeners.get(descriptor)
        if listener is None or self._admit is None:
            return
        outbox: list[Callable[[], None]] = []
        self._outbox = outbox
        try:
            for _ in range(REQUESTS_AT_ONCE):
                try:
                    datagram, peer, asked = listener.receive()
                except OSError:  # no more of them
                    break
                self._admit(listener, datagram, peer, asked, now)
        finally:
            self._outbox = None
        for send in outbox:
            send()

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
        else:
            self._forget(flow)
        self.tell(partial(flow.event, outcome, now))

    def _forget(self, flow: Flow) -> None:
        del self.flows[flow.descriptor]
        if self.by_peer.get(flow.peer) is flow:
            del self.by_peer[flow.peer]
        host = flow.peer[0]
        left = self.per_host[host] - 1
        if left:
            self.per_host[host] = left
        else:
            del self.per_host[host]
        self.ports.release(flow.connected, flow.peer)
        flow.close()
