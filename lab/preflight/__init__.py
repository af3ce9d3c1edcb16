"""Would the phones of one cluster follow to another? Every check, its evidence, its remedy.

``places`` says what a source and a destination are and what was got from them; ``bundles`` what
imports would do; ``rehearsal`` lets a phone of the source judge the destination's files;
``list_checks`` and ``trust_checks`` turn all of it into findings; ``report`` shows them. Servers
are only asked what a phone would ask.
"""
