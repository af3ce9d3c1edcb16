"""One connection of a phone, from its first record to the end, in a coroutine of its own.

The TLS object works on the socket itself. Each phase that waits sets ``deadline``; the server looks
through all of them several times a second and cuts off the overdue. That costs a connection much
less than a cancel scope with timers of its own.
"""

from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter

import trio
from OpenSSL import SSL

from tvs.answers import answer
from tvs.connection import MessageBuffer
from tvs.happenings import answer_event, device_of, session_facts
from tvs.lobby import Guest
from tvs.messages import MessageError, Request, encode_response
from tvs.service import Service
from tvs.tls import MAX_ASIDES, bound_asides, has_too_many_asides, openssl_reason
from tvs.turns import OTHERS_FIRST, READABLE, WRITABLE, Turn, wait_for

READ_BYTES = 4096

_OVERDUE = {
    "handshake": "the handshake did not end in time",
    "request": "a request was begun and not ended in time",
    "write": "the answer was not taken in time",
    "delay": "the delay of the reply policy went beyond its time",
}


class _CutOffError(Exception):
    """The connection is ended from outside; the text says why."""


class Session:
    """Serves one accepted connection, from :meth:`begin` on."""

    def __init__(self, service: Service, guest: Guest) -> None:
        self._service = service
        self._socket = guest.socket
        self._address = guest.address[0]
        self._peer = guest.peer
        self._phase = "handshake"
        self._turn = Turn(guest.socket.fileno(), guest.address[0], self._run())
        self._device: str | None = None
        self._tls: SSL.Connection | None = None
        self._facts: dict[str, object] | None = None
        self._started = guest.since
        self.deadline = guest.since + service.limits().handshake_seconds

    def begin(self) -> None:
        """Serve from now on, until the peer leaves, a deadline passes or the service stops."""
        self._service.turns.begin(self._turn)

    async def _run(self) -> None:
        service = self._service
        service.sessions.add(self)
        try:
            await self._requests(await self._handshake())
        except _CutOffError as cut:
            self._tell_cut(str(cut))
        except MessageError as error:
            self._problem("malformed", str(error))
        except SSL.SysCallError as error:
            self._lost(str(error.args[-1]))
        except SSL.Error as error:
            self._lost(openssl_reason(error))
        except OSError as error:
            self._lost(str(error))
        except Exception as error:  # noqa: BLE001 - one connection's fault must not end the others
            self._problem("failed", f"{type(error).__name__}: {error}")
        finally:
            self._close()
            service.sessions.discard(self)
            service.release(self._address)

    def expire(self) -> None:
        """End now: the deadline has passed."""
        self._cut_off("overdue")

    def drop(self, reason: str) -> None:
        """End now, because others need the room."""
        self._cut_off(reason)

    def stop_if_idle(self) -> None:
        """End now unless a handshake, a request or an answer is under way."""
        if self._phase == "idle":
            self._cut_off("stopped")

    def _cut_off(self, why: str) -> None:
        self._service.turns.throw(self._turn, _CutOffError(why))

    async def _handshake(self) -> SSL.Connection:
        service, address = self._service, self._address
        await wait_for(READABLE)  # the hello is there, but others may come first
        most = service.limits().max_unfinished_handshakes
        if len(service.unfinished) >= most:
            oldest = next(iter(service.unfinished))
            oldest.drop(f"{most} handshakes are unfinished, and this is the oldest")
        service.unfinished[self] = None
        try:
            tls = SSL.Connection(service.context_for(address), self._socket)
            tls.set_accept_state()
            while True:
                try:
                    tls.do_handshake()
                except SSL.WantReadError:
                    await wait_for(READABLE)
                except SSL.WantWriteError:
                    await wait_for(WRITABLE)
                else:
                    break
        finally:
            service.unfinished.pop(self, None)
        service.counters.versions[tls.get_protocol_version_name()] += 1
        self._tls = tls
        return tls

    async def _requests(self, tls: SSL.Connection) -> None:
        service = self._service
        bound_asides(tls)
        buffer = MessageBuffer(service.limits().max_request_bytes)
        self._enter("idle", service.limits().idle_seconds)
        while octets := await self._receive(tls):
            begins = self._phase == "idle"
            self._phase = "request"
            buffer.receive_data(octets)
            while (request := buffer.next_request()) is not None:
                if not await self._answer(tls, request):
                    return
                begins = True
                if buffer:
                    self._enter("request", service.limits().request_seconds)
                    await wait_for(OTHERS_FIRST)
            if not buffer:
                if service.stopping:
                    return
                self._enter("idle", service.limits().idle_seconds)
            elif begins:
                self._enter("request", service.limits().request_seconds)
        if has_too_many_asides(tls):
            raise _CutOffError(f"more than {MAX_ASIDES} key updates or renegotiations")
        buffer.end()

    def _enter(self, phase: str, seconds: float) -> None:
        self._phase = phase
        self.deadline = trio.current_time() + seconds

    async def _receive(self, tls: SSL.Connection) -> bytes:
        """Some octets of plain text; none: the peer has ended its side."""
        await wait_for(OTHERS_FIRST if tls.pending() else READABLE)
        while True:
            try:
                return tls.recv(READ_BYTES)
            except SSL.WantReadError:
                await wait_for(READABLE)
            except SSL.WantWriteError:
                await wait_for(WRITABLE)
            except SSL.ZeroReturnError:
                return b""
            except SSL.SysCallError as error:
                if error.args[0] == -1:  # a TCP end without TLS's goodbye
                    return b""
                raise

    async def _answer(self, tls: SSL.Connection, request: Request) -> bool:
        """Answer one request and report it; False: the connection is to end."""
        service = self._service
        started = perf_counter()
        self._device = device_of(request.device)
        found = answer(request, service.snapshot(), service.policy(), datetime.now(UTC))
        octets = encode_response(found.response)
        close = False
        if service.reply_policy:
            reply = service.reply_policy(request, octets)
            octets, close = reply.octets, reply.close
            if reply.delay_seconds:
                self._enter("delay", reply.delay_seconds + 1)
                await wait_for(float(reply.delay_seconds))
        await self._write(tls, octets)
        if self._facts is None:
            self._facts = session_facts(tls)
        milliseconds = round((perf_counter() - started) * 1000, 3)
        service.report_soon(
            answer_event(
                request, found, peer=self._peer, milliseconds=milliseconds, facts=self._facts
            )
        )
        return not close

    async def _write(self, tls: SSL.Connection, octets: bytes) -> None:
        """Write all; nothing more is read before the peer has taken it."""
        self._phase = "write"
        waits = False
        while octets:
            try:
                octets = octets[tls.send(octets) :]
            except SSL.WantWriteError:
                wanted = WRITABLE
            except SSL.WantReadError:
                wanted = READABLE
            else:
                continue
            if not waits:
                self._enter("write", self._service.limits().write_seconds)
                waits = True
            await wait_for(wanted)

    def _tell_cut(self, why: str) -> None:
        if why == "overdue":
            if self._phase != "idle":  # that is how a phone's silence usually ends
                self._problem("timed out", _OVERDUE[self._phase])
        elif why != "stopped":
            self._problem("dropped", why)

    def _lost(self, reason: str) -> None:
        """Report an end in the middle of something; after an answer, a reset is no news."""
        if self._phase == "handshake":
            self._service.counters.handshakes_failed += 1
            self._problem("handshake failed", reason)
        elif self._phase != "idle":
            self._problem("lost", f"{reason} ({self._phase})")

    def _problem(self, outcome: str, reason: str) -> None:
        self._service.report_problem(
            device=self._device,
            peer=self._peer,
            outcome=outcome,
            reason=reason,
            milliseconds=round((trio.current_time() - self._started) * 1000, 3),
        )

    def _close(self) -> None:
        """Say goodbye where there is somebody to say it to, and let go of the socket."""
        if self._tls:
            with suppress(SSL.Error):
                self._tls.shutdown()
        self._socket.close()
