"""``srl demo page``: trained networks and the table of blocks as a page on this machine.

`pictures`, `networks`, `poses`, `clips` and `choice` are functions of arrays and know no page;
`layout` and `tabs` are the page and compute nothing.
"""
