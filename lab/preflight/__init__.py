"""Would the phones of one cluster follow to another? Every check, its evidence, its remedy.

``places`` says what a source and a destination are and what was got from them; ``rehearsal`` lets a
phone of the source judge the destination's files; ``list_checks`` and ``trust_checks`` turn both
into findings; ``report`` shows them. Servers are only asked what a phone would ask.
"""
