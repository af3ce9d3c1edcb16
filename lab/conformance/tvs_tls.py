"""TVS checks: TLS versions, cipher families, the certificate presented."""

import trio
from OpenSSL import SSL

from lab.conformance.model import (
    Ruling,
    Standing,
    Timeline,
    Verdict,
    check,
    checks_in,
    demand,
    inapplicable,
    untold,
)
from lab.conformance.tvs_wire import Session, TvsTarget, context, raw, reason_of, session, verify

OLD_PHONES = "Cisco TLS setup chapters: 7900, 6900 and 8900 phones speak TLS 1.0 only"


async def _version(target: TvsTarget, seen: Timeline, version: int) -> str:
    async with session(target, seen, context(version, version)) as opened:
        answer = await opened.asked(verify(target.unknown), target.patience_seconds)
        return f"{opened.spoken}: {answer.text}"


@check(
    "tvs.tls.1-2",
    Standing.REQUIRED,
    "a client that speaks TLS 1.2 is served",
    "RFC 9325 section 3.1.1; 78xx and 88xx phones (assumed)",
)
async def tls_1_2(target: TvsTarget, seen: Timeline) -> str:
    """TLS 1.2 only."""
    return await _version(target, seen, SSL.TLS1_2_VERSION)


@check(
    "tvs.tls.1-3",
    Standing.OBSERVED,
    "a client that speaks TLS 1.3 is served",
    "Cisco security guide 15SU2: the servers offer TLS 1.3",
)
async def tls_1_3(target: TvsTarget, seen: Timeline) -> str:
    """TLS 1.3 only."""
    return await _version(target, seen, SSL.TLS1_3_VERSION)


@check("tvs.tls.1-1", Standing.OBSERVED, "a client that speaks TLS 1.1 is served", OLD_PHONES)
async def tls_1_1(target: TvsTarget, seen: Timeline) -> str:
    """TLS 1.1 only."""
    return await _version(target, seen, SSL.TLS1_1_VERSION)


@check("tvs.tls.1-0", Standing.OBSERVED, "a client that speaks TLS 1.0 is served", OLD_PHONES)
async def tls_1_0(target: TvsTarget, seen: Timeline) -> str:
    """TLS 1.0 only."""
    return await _version(target, seen, SSL.TLS1_VERSION)


async def _ciphers(target: TvsTarget, seen: Timeline, ciphers: bytes) -> str:
    offered = context(SSL.TLS1_VERSION, SSL.TLS1_2_VERSION, ciphers + b":@SECLEVEL=0")
    async with session(target, seen, offered) as opened:
        return opened.spoken


@check(
    "tvs.cipher.ecdhe-gcm",
    Standing.REQUIRED,
    "ECDHE with AES-GCM is served on TLS 1.2",
    "RFC 9325 section 4.2",
)
async def ecdhe_gcm(target: TvsTarget, seen: Timeline) -> str:
    """ECDHE+AESGCM only."""
    return await _ciphers(target, seen, b"ECDHE+AESGCM")


@check(
    "tvs.cipher.ecdhe-cbc",
    Standing.OBSERVED,
    "ECDHE with AES-CBC is served",
    "phones between the generations; peers' ciphers",
)
async def ecdhe_cbc(target: TvsTarget, seen: Timeline) -> str:
    """ECDHE with AES-CBC only."""
    return await _ciphers(target, seen, b"ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA")


@check(
    "tvs.cipher.rsa-gcm",
    Standing.OBSERVED,
    "RSA key exchange with AES-GCM is served",
    "Cisco security guide, TLS setup: ciphers of the TVS interface",
)
async def rsa_gcm(target: TvsTarget, seen: Timeline) -> str:
    """RSA key exchange with AES-GCM only."""
    return await _ciphers(target, seen, b"AES128-GCM-SHA256:AES256-GCM-SHA384")


@check(
    "tvs.cipher.aes256-sha",
    Standing.OBSERVED,
    "AES256-SHA is served",
    "Cisco document 213407: the cipher of an 8861 on CUCM 10.5",
)
async def aes256_sha(target: TvsTarget, seen: Timeline) -> str:
    """AES256-SHA only."""
    return await _ciphers(target, seen, b"AES256-SHA")


@check(
    "tvs.cipher.aes128-sha",
    Standing.OBSERVED,
    "AES128-SHA is served",
    OLD_PHONES,
)
async def aes128_sha(target: TvsTarget, seen: Timeline) -> str:
    """AES128-SHA only."""
    return await _ciphers(target, seen, b"AES128-SHA")


@check(
    "tvs.cipher.none-weak",
    Standing.RECOMMENDED,
    "neither anonymous key exchange nor NULL encryption is served",
    "RFC 9325 section 4.1",
)
async def none_weak(target: TvsTarget, seen: Timeline) -> str:
    """Offer only what must not be taken."""
    offered = context(SSL.TLS1_VERSION, SSL.TLS1_2_VERSION, b"aNULL:eNULL:@SECLEVEL=0")
    async with raw(target) as stream:
        opened = Session(stream, seen, target.label)
        try:
            with trio.fail_after(target.patience_seconds):
                await opened.handshake(offered)
        except SSL.Error as error:
            return f"refused: {reason_of(error)}"
        except ConnectionError as error:
            return f"refused: {error}"
        except trio.TooSlowError:
            untold(f"no end of the handshake within {target.patience_seconds:g} seconds")
    raise Ruling(Verdict.FAIL, f"{opened.tls.get_cipher_name()} is served")


@check(
    "tvs.certificate.expected",
    Standing.REQUIRED,
    "the certificate presented is, octet for octet, the one in the phones' list (role 21)",
    "Cisco document 213407: the phone looks the server certificate up in its ITL, role 21",
)
async def expected_certificate(target: TvsTarget, seen: Timeline) -> str:
    """Compare it."""
    if target.expected is None:
        inapplicable("not observed: no certificate to compare with (--expect-cert FILE)")
    async with session(target, seen) as opened:
        demand(
            opened.certificate == target.expected,
            "the server presents another certificate than the one expected",
        )
    return f"the same {len(target.expected)} octets"


@check(
    "tvs.certificate.every-version",
    Standing.RECOMMENDED,
    "the same certificate is presented whatever TLS version is spoken",
    "Cisco document 213407: one TVS certificate a node in the list",
)
async def one_certificate(target: TvsTarget, seen: Timeline) -> str:
    """Compare what two versions present."""
    presented = set()
    for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
        async with raw(target) as stream:
            opened = Session(stream, seen, target.label)
            try:
                with trio.fail_after(target.patience_seconds):
                    await opened.handshake(context(version, version))
            except (SSL.Error, ConnectionError, trio.TooSlowError):
                continue
            presented.add(opened.certificate)
    if not presented:
        untold("no handshake succeeded")
    demand(len(presented) == 1, "different certificates are presented")
    return "one certificate"


CHECKS = checks_in(globals())
