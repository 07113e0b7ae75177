"""The laboratory: benchmarks, experiments, pictures, demos, generated data, the paper's tables.

It uses all other rooms; none of them imports anything of it.
"""
