"""What a phone is, by its model, and what of it survives a reset."""

from datetime import timedelta
from pathlib import Path

import pytest

from lab.cli.phone import BootOptions
from lab.endpoint import UsageError
from lab.phone.cache import CachedAnswer
from lab.phone.configuration import TvsServer
from lab.phone.models import model
from lab.phone.state import Phone, load_phone, save_phone
from lab.phone.trust import Answer
from tests.phone.clusters import NOW


@pytest.mark.parametrize(
    ("name", "tftp", "option", "http_port"),
    [
        ("8861", "192.0.2.1", None, 6970),
        ("8861", "192.0.2.1:6969", None, None),
        ("8861", "192.0.2.1:6969", 8080, 8080),
        ("CP-7945G", "192.0.2.1", None, None),
        ("CP-7945G", "192.0.2.1", 6970, None),
    ],
)
def test_only_models_that_do_so_try_http_and_on_port_6970_beside_tftp(
    name, tftp, option, http_port
):
    options = BootOptions(tftp=tftp, phone_dir=Path("p"), http_port=option)
    assert options.server(model(name)).http_port == http_port


def test_a_model_is_named_by_four_digits():
    assert model("CP-7945G").name == "7945"
    with pytest.raises(UsageError, match="four digits"):
        model("IP Phone")


def test_all_that_a_phone_holds_is_on_disk(tmp_path, secure_source):
    answer = Answer(secure_source.tvs.certificate, 0, (0, 3), secure_source.recovery.certificate)
    phone = Phone(
        "00005E0053FF",
        model("7945"),
        ctl=secure_source.ctl(),
        itl=secure_source.itl(),
        configuration=b"<device/>",
        tvs=(TvsServer("192.0.2.1", 2445), TvsServer("192.0.2.2", 2446)),
        cache=(CachedAnswer(answer, "CN=x", b"\1\2", NOW + timedelta(hours=1)),),
    )
    save_phone(tmp_path, phone)
    assert load_phone(tmp_path) == phone
    phone.ctl = phone.configuration = None
    save_phone(tmp_path, phone)
    assert load_phone(tmp_path) == phone
