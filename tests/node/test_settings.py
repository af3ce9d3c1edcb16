"""Settings in layers, and errors that name the file, the line and the key."""

from pathlib import Path

import pytest

from conf.settings import SettingsError, load_settings

NODE = '[node]\ncluster = "a"\nhost = "pub"\naddress = "127.0.0.1"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "trustlab.toml").write_text(text)
    return folder


def test_layers_go_above_each_other(tmp_path: Path) -> None:
    state = write(tmp_path, NODE + "[tvs]\nport = 3000\n")
    assert load_settings(state, environment={}).tvs.port == 3000
    environment = {"TRUSTLAB_SET_TVS__PORT": "4000", "HOME": "/"}
    assert load_settings(state, environment=environment).tvs.port == 4000
    overrides = {"tvs.port": 0, "tftp.port": None}
    loaded = load_settings(state, overrides, environment)
    assert (loaded.tvs.port, loaded.tftp.port) == (0, 69)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NODE + "[tvs]\nport = 'x'\n", r"trustlab\.toml, line 6: tvs\.port: Expected `int`"),
        (NODE + "[tvs]\nport = 70000\n", r"line 6: tvs\.port: Expected `int` <= 65535"),
        (NODE + "[tvs]\n# comment\nprot = 1\n", r"line 7: tvs\.prot: unknown key"),
        (NODE + "[tsv]\nport = 1\n", r"line 6: tsv: unknown key"),
        (NODE + "[tvs]\nport = \n", r"trustlab\.toml: Invalid value \(at line 6"),
        (NODE + "[phones]\nmacs = ['0011']\n", r"line 6: phones\.macs\[0\]: Expected `str` match"),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(write(tmp_path, text), environment={})


def test_an_error_of_the_environment_names_the_variable(tmp_path: Path) -> None:
    state = write(tmp_path, NODE)
    with pytest.raises(SettingsError, match=r"variable TRUSTLAB_SET_TVS__PORT: tvs\.port"):
        load_settings(state, environment={"TRUSTLAB_SET_TVS__PORT": "many"})
    with pytest.raises(SettingsError, match=r"variable TRUSTLAB_SET_NO__SUCH: no"):
        load_settings(state, environment={"TRUSTLAB_SET_NO__SUCH": "1"})


def test_a_folder_without_a_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="init` makes a node"):
        load_settings(tmp_path, environment={})
