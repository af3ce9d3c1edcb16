"""`trustlab itl`, `trustlab ctl` and `trustlab sgn`."""

from cyclopts import App

from itl.trustlist import CTL_FILENAME, ITL_FILENAME
from lab.cli.documents import diff, show_command, verify_command
from lab.cli.listbuild import build_command
from lab.cli.signedfiles import decrypt, encrypt, sign, strip

itl_app = App(name="itl", help="Identity trust lists: verify, show, build, compare.")
ctl_app = App(name="ctl", help="Certificate trust lists: verify, show, build, compare.")
sgn_app = App(name="sgn", help="Signed files: verify, show, sign, strip, encrypt, decrypt.")

for app, group in ((itl_app, "itl"), (ctl_app, "ctl"), (sgn_app, "sgn")):
    app.command(verify_command(group), name="verify")
    app.command(show_command(group), name="show")
for app, filename in ((itl_app, ITL_FILENAME), (ctl_app, CTL_FILENAME)):
    app.command(build_command(filename), name="build")
    app.command(diff)
for command in (sign, strip, encrypt, decrypt):
    sgn_app.command(command)
