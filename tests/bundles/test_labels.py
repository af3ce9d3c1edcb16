"""Labels: friendly names that say where a certificate comes from."""

from hypothesis import given
from hypothesis import strategies as st

from tvs.labels import EXCHANGED_TYPES, Label, parse_label, type_of_subject

DIGITS = "0123456789abcdef"
labels = st.builds(
    Label,
    cluster=st.text(max_size=64).filter(lambda text: text.isprintable()),
    cluster_id=st.text(DIGITS, min_size=8, max_size=8),
    node=st.from_regex(r"[A-Za-z0-9-]{1,20}(\.[a-z]{2,5})?", fullmatch=True),
    type=st.sampled_from(EXCHANGED_TYPES),
    nodes=st.integers(0, 9999),
    consolidated=st.booleans(),
)


@given(label=labels, sha256=st.text(DIGITS, min_size=64, max_size=64))
def test_a_label_is_read_as_it_was_written(label, sha256):
    name = label.friendly_name(sha256)
    assert parse_label(name, sha256) == label
    lowered = parse_label(name.lower(), sha256)  # as Java keeps it
    assert lowered is not None
    assert (lowered.type, lowered.node.lower()) == (label.type, label.node.lower())


@given(label=labels, sha256=st.text(DIGITS, min_size=64, max_size=64))
def test_a_label_belongs_to_its_certificate_alone(label, sha256):
    other = ("0" if sha256[0] != "0" else "1") + sha256[1:]
    assert parse_label(label.friendly_name(sha256), other) is None


@given(name=st.none() | st.text() | st.from_regex(r"trustlab:1:(node|all):.*"))
def test_any_other_name_is_no_label(name):
    """Not even one that begins as ours do, and ends as nobody wrote it."""
    assert parse_label(name, "ab" * 32) is None


@given(label=labels)
def test_file_names_are_plain(label):
    assert "/" not in label.file_name
    assert label.file_name.isascii()


def test_subjects_that_tell_a_type():
    assert type_of_subject("CN=CAPF-eeba4fa9;OU=x") == "CAPF"
    assert type_of_subject("OU=x;CN=ITLRECOVERY_cucm-pub;C=US") == "ITLRecovery"
    for subject in ("CN=cucm-pub", "CN=CAPF-host", "OU=CAPF-eeba4fa9", "CN=xITLRECOVERY_a", ""):
        assert type_of_subject(subject) is None
