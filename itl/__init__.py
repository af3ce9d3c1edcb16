"""First floor: the file formats (ITL, CTL, signed files): parse, build, sign, verify, show.

What most programs need, by module:

* :mod:`itl.trustlist`: ``parse_trust_list``, ``build_trust_list``, ``RecordSpec``
* :mod:`itl.signedfile`: ``parse_signed_file``, ``sign_file``, ``recognise``
* :mod:`itl.signing`: ``verify``, ``verify_data``, ``Verdict``
* :mod:`itl.show`: ``show_text``, ``show_json``
* :mod:`itl.difference`: ``compare``
* :mod:`itl.encryption`: ``encrypt_file``, ``decrypt_file``
* :mod:`itl.certificates`: ``describe``, ``load_certificates``

Octets go in, values and octets come out; nothing here opens a file or reads a clock. Only
:class:`ItlError` leaves it.
"""

from itl.errors import BuildError, FormatError, ItlError

__all__ = ["BuildError", "FormatError", "ItlError"]
