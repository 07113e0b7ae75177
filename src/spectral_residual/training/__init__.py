"""What all tasks share: trunk, optimiser groups, checkpoints, broken samples, speed, commands."""
