"""What was done to a node's trust store, and how it is taken back."""

import json as json_text
from contextlib import closing

from conf.settings import load_settings
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.receipts import show_receipt, show_receipts
from tvs.changes import UnknownReceiptError, new_receipt
from tvs.schema import StoreError
from tvs.store import STORE_FILE, TrustStore


def undo(receipt: str, *, json: Flag = False) -> int:
    """Take back what a receipt says, as far as it still stands.

    Parameters
    ----------
    receipt:
        Its id, as `bundle receipts` lists it.
    json:
        Print one JSON object.
    """
    state = terminal.state_dir()
    load_settings(state)
    own = new_receipt("undo", receipt)
    with closing(TrustStore.open(state / STORE_FILE)) as store:
        done = store.undo(receipt, own)
    result = {
        "receipt": own.id,
        "outcome": "taken back",
        "undone": receipt,
        "taken_back": [{"sha256": sha256, "what": what} for sha256, what in done.taken_back],
        "left_alone": [
            {"sha256": sha256, "what": what, "reason": reason}
            for sha256, what, reason in done.left_alone
        ],
    }
    if json:
        terminal.emit(result)
        return 0
    for sha256, what in done.taken_back:
        terminal.say(f"taken back: {what} {sha256}")
    for sha256, what, reason in done.left_alone:
        terminal.say(f"left alone: {what} {sha256}: {reason}")
    return 0


def receipts(receipt: str | None = None, *, json: Flag = False) -> int:
    """List what was done to the trust store, or show one receipt again.

    Parameters
    ----------
    receipt:
        Its id.
    json:
        Print JSON: an object for each receipt, or the one receipt.
    """
    state = terminal.state_dir()
    load_settings(state)
    with closing(TrustStore.open(state / STORE_FILE)) as store:
        kept = [one for one in store.receipts() if receipt in {None, one.receipt.id}]
    if receipt is not None and not kept:
        raise UnknownReceiptError(f"no receipt {receipt} in this store's history")
    if receipt is not None and kept[0].receipt.action == "import":
        try:
            body = json_text.loads(kept[0].receipt.body)
            if json:
                terminal.emit(body)
            else:
                show_receipt(body)
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # edited by hand
            raise StoreError(
                f"{state / STORE_FILE}: damaged: receipt {receipt}: {error!r}"
            ) from None
    elif json:
        for one in kept:
            fields = ("time", "action", "place", "actor")
            values = {name: getattr(one.receipt, name) for name in fields}
            terminal.emit({"receipt": one.receipt.id, **values, "undone_by": one.undone_by})
    else:
        show_receipts(kept)
    return 0
