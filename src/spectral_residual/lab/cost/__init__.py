"""``srl cost`` and ``srl tables``: parameters and operations, and the paper's cost columns."""
