import pytest

from lab.endpoint import UsageError, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", ("192.0.2.1", 69)),
        ("192.0.2.1:6969", ("192.0.2.1", 6969)),
        ("cucm.example:1", ("cucm.example", 1)),
        ("::1", ("::1", 69)),
        ("[::1]", ("::1", 69)),
        ("[2001:db8::1]:6969", ("2001:db8::1", 6969)),
    ],
)
def test_hosts_and_ports_as_people_write_them(text, endpoint):
    assert parse_endpoint(text, 69) == endpoint


@pytest.mark.parametrize(
    "text", ["", ":69", "host:", "host:0", "host:65536", "host:x", "[::1", "a b"]
)
def test_what_names_no_endpoint_is_a_usage_error(text):
    with pytest.raises(UsageError, match="HOST or HOST:PORT"):
        parse_endpoint(text, 69)
