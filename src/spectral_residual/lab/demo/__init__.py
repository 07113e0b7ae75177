"""Demos: generate data, train without and with SRL blocks, compare."""
