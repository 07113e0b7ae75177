"""Time and peak memory of blocks and networks, side by side in one run: ``srl bench``."""
